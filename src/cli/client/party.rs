//! Who gets a token, where, and for what.

use std::path::PathBuf;

use clap::Args;

use super::{ClientError, Credential, DevSession, Identity, Login, Pocket, Wallet};
use crate::ident::Issuer;

/// The flags that say so.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct PartyOptions {
    /// The authorization server; its metadata are fetched from there
    #[arg(long, value_name = "URL", requires = "client_id")]
    issuer: Option<Issuer>,
    /// The client to be
    #[arg(long, value_name = "ID", requires = "issuer")]
    client_id: Option<String>,
    /// A file with the client's secret
    #[arg(long, value_name = "FILE", requires = "issuer", conflicts_with = "key")]
    client_secret_file: Option<PathBuf>,
    /// A file with the client's private key (PKCS #8, PEM)
    #[arg(long, value_name = "FILE", requires = "issuer")]
    key: Option<PathBuf>,
    /// The scopes to ask for, separated by spaces
    #[arg(long)]
    scope: Option<String>,
    /// The resource to ask a token for (RFC 8707)
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) resource: Option<String>,
}

/// A client of an issuer.
pub(in crate::cli) struct Party {
    /// The authorization server.
    pub(in crate::cli) issuer: Issuer,
    /// The client.
    pub(in crate::cli) identity: Identity,
    /// `scope`, if any is asked for.
    pub(in crate::cli) scope: Option<String>,
    /// `resource`, if one is named.
    pub(in crate::cli) resource: Option<String>,
    /// Which life of a `tollgate dev` it belongs to; empty for all others.
    pub(in crate::cli) session: String,
}

impl Party {
    /// Where its token is kept.
    pub(in crate::cli) fn pocket(&self) -> Pocket<'_> {
        Pocket {
            issuer: self.issuer.as_str(),
            client_id: &self.identity.client_id,
            scope: self.scope.as_deref(),
            resource: self.resource.as_deref(),
            session: &self.session,
        }
    }

    /// The one that signed in with `tollgate login`.
    pub(in crate::cli) fn of_login(login: Login) -> Result<Self, ClientError> {
        let credential = match (&login.client_secret_file, &login.key_file) {
            (Some(file), _) => Credential::secret_file(file)?,
            (None, Some(file)) => Credential::key_file(file)?,
            (None, None) => Credential::None,
        };
        let Login { issuer, client_id, scope, resource, session, .. } = login;
        let issuer = issuer.parse().map_err(|_| ClientError::Answer(issuer, "what was kept of it names no issuer"))?;
        Ok(Self { issuer, identity: Identity { client_id, credential }, scope, resource: Some(resource), session })
    }
}

impl PartyOptions {
    /// The one that `--issuer` and `--client-id` name, if they were given.
    pub(in crate::cli) fn named(&self) -> Result<Option<Party>, ClientError> {
        let (Some(issuer), Some(client_id)) = (&self.issuer, &self.client_id) else { return Ok(None) };
        let credential = match (&self.client_secret_file, &self.key) {
            (Some(file), _) => Credential::secret_file(file)?,
            (None, Some(file)) => Credential::key_file(file)?,
            (None, None) => Credential::None,
        };
        let identity = Identity { client_id: client_id.clone(), credential };
        Ok(Some(self.party(issuer.clone(), identity, None)))
    }

    /// The client that a `tollgate dev` has for people.
    pub(in crate::cli) fn person_at(&self, dev: &DevSession) -> Option<Party> {
        let identity = Identity { client_id: dev.people_client_id.clone(), credential: Credential::None };
        Some(self.party(dev.issuer.parse().ok()?, identity, Some(dev)))
    }

    /// The client that a `tollgate dev` has for programs.
    pub(in crate::cli) fn program_at(&self, dev: &DevSession) -> Option<Party> {
        let credential = Credential::Secret(dev.service_client_secret.as_str().into());
        let identity = Identity { client_id: dev.service_client_id.clone(), credential };
        Some(self.party(dev.issuer.parse().ok()?, identity, Some(dev)))
    }

    /// What `tollgate curl` has to remember of a sign-in, so that a URL of its resource is enough from now on. Without a
    /// resource there is nothing to remember: the token would go to whatever URL is typed.
    pub(in crate::cli) fn login(&self, party: &Party) -> Option<Login> {
        let absolute = |path: &Option<PathBuf>| path.as_ref().and_then(|path| std::path::absolute(path).ok());
        Some(Login {
            issuer: party.issuer.to_string(),
            client_id: party.identity.client_id.clone(),
            scope: party.scope.clone(),
            resource: party.resource.clone()?,
            session: party.session.clone(),
            client_secret_file: absolute(&self.client_secret_file),
            key_file: absolute(&self.key),
        })
    }

    /// Whether a sign-in is for what the flags ask for, if they ask for anything.
    pub(in crate::cli) fn fit(&self, login: &Login) -> bool {
        let scope = self.scope.is_none() || self.scope == login.scope;
        scope && self.resource.as_ref().is_none_or(|resource| *resource == login.resource)
    }

    fn party(&self, issuer: Issuer, identity: Identity, dev: Option<&DevSession>) -> Party {
        let resource = self.resource.clone().or_else(|| dev.map(|dev| dev.resource.clone()));
        let session = dev.map(|dev| dev.session.clone()).unwrap_or_default();
        Party { issuer, identity, scope: self.scope.clone(), resource, session }
    }

    /// The client for people of the `tollgate dev` that runs; of the one that guards `--resource` if several do.
    pub(in crate::cli) fn person_at_home(&self, wallet: &Wallet) -> Option<Party> {
        let devs = wallet.devs();
        let dev = match (&self.resource, devs.as_slice()) {
            (Some(resource), devs) => devs.iter().find(|dev| dev.resource == *resource)?,
            (None, [dev]) => dev,
            (None, [] | [_, _, ..]) => return None,
        };
        self.person_at(dev)
    }
}
