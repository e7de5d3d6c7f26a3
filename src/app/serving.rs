//! What answers under one configuration.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::AppError;
use super::foundation::{Foundation, State};
use super::gate::{Others, Parts};
use super::published::Published;
use super::workloads::Platforms;
use crate::authz::{IssuerDocuments, OpaqueTokens, ResourceSettings, TokenIssuer};
use crate::cache::Tokens;
use crate::clock::Timestamp;
use crate::config::{self, Config};
use crate::dpop::NONCE_LIFE;
use crate::fetch::{FetchLimits, Fetcher, Reach};
use crate::grpc::{AdminService, CheckService, Installation};
use crate::ident::{IssuerName, Subject};
use crate::identity::{LocalUsers, Login, Nobody, OidcProvider, OidcSettings, People, RememberedPeople};
use crate::issuers::{IssuerKeys, IssuerSettings, Questions, StatusLists};
use crate::oauth::{AuthorizationServer, Dependencies, Settings};
use crate::secret::seal::RootKey;
use crate::store::{EndedBy, Store};
use crate::token::{KeyLookup, Revocations};
use crate::unavailable::Unavailable;
use crate::web::{AuthorizationSite, Site};

/// What may change while requests are answered.
pub(super) struct Changing {
    pub(super) server: Option<config::AuthorizationServer>,
    pub(super) issuers: Vec<IssuerSettings>,
    pub(super) resources: Vec<ResourceSettings>,
    /// One in how many allowed requests is logged for all to see, if any is.
    pub(super) one_logged_in: Option<NonZeroU32>,
    /// The keys of nonces that gates share, the newest first.
    pub(super) nonce_keys: Vec<RootKey>,
}

impl Changing {
    pub(super) fn of(config: Config) -> Self {
        let Config { authorization_server: server, protected_resources: resources, .. } = config;
        let Config { issuers, one_logged_in, nonce_keys, .. } = config;
        Self { server, issuers, resources, one_logged_in, nonce_keys }
    }

    /// How far clocks of clients may be ahead of ours, at most.
    pub(super) fn skew(&self) -> Duration {
        let server = self.server.as_ref().map(|server| server.settings.dpop.window.skew);
        let resources = self.resources.iter().map(|resource| resource.window.skew);
        resources.chain(server).max().unwrap_or_default()
    }
}

/// What answers under one configuration.
pub(super) struct Serving {
    pub(super) site: Option<Arc<dyn Site>>,
    pub(super) check: Option<CheckService>,
    pub(super) server: Option<Arc<AuthorizationServer>>,
    /// Whether clients are asked for certificates.
    pub(super) asks: bool,
    pub(super) tokens: Arc<Tokens>,
    others: Others,
    nonce_keys: Vec<RootKey>,
    platforms: Platforms,
    /// The users file, if there is one.
    users: Option<Arc<LocalUsers>>,
    /// The upstream provider, if there is one, as it was configured.
    provider: Option<Provider>,
    published: Published,
}

/// An upstream provider, and what it was made from.
#[derive(Clone)]
struct Provider {
    settings: Arc<OidcSettings>,
    limits: FetchLimits,
    made: Arc<OidcProvider>,
}

impl Serving {
    /// What answers those who look after the installation, and an external login. `store` is what the configuration calls
    /// it.
    pub(super) fn api(&self, foundation: &Foundation, store: &'static str) -> Option<AdminService> {
        let (server, state) = self.server.as_ref().zip(foundation.state.as_ref())?;
        let installation = Installation {
            clock: Arc::clone(&foundation.clock),
            began: foundation.clock.now(),
            store,
            standing: Arc::clone(&foundation.standing),
            feed: foundation.feed.clone(),
        };
        Some(AdminService::new(Arc::clone(server), Arc::clone(&state.keys), installation))
    }

    /// The keys of nonces that gates share, the newest first.
    pub(super) fn nonce_keys(&self) -> &[RootKey] {
        &self.nonce_keys
    }

    /// The status lists of others, which somebody must look after.
    pub(super) fn lists(&self) -> Vec<Arc<StatusLists>> {
        self.others.lists().collect()
    }

    /// Who is asked about opaque tokens, by issuer; `own` is about those of this process.
    pub(super) fn questions(&self, own: Option<&State>) -> Vec<(IssuerName, Arc<Questions>)> {
        let own = self.server.as_ref().zip(own);
        let own = own.map(|(server, state)| (server.settings().own_tokens().0, Arc::clone(&state.handles)));
        own.into_iter().chain(self.others.questions()).collect()
    }

    /// The keys of others, which somebody must look after.
    pub(super) fn issuers(&self) -> Vec<Arc<IssuerKeys>> {
        self.others.keys().chain(self.platforms.keys()).collect()
    }

    /// Those that the gate needs.
    pub(super) fn needed(&self) -> Vec<Arc<IssuerKeys>> {
        self.others.keys().collect()
    }

    /// Ends what people have allowed whom the users file says to be disabled by now.
    pub(super) async fn end_grants_of_disabled(&self, state: &State, now: Timestamp) -> Result<(), Unavailable> {
        for subject in self.users.iter().flat_map(|users| users.disabled()) {
            // To look costs much less than to write, and most of them have nothing left.
            if !state.store.grants_of(subject, now, 1).await?.is_empty() {
                let ended = state.store.end_grants_of(subject, EndedBy::UserDisabled, now).await?;
                tracing::info!(%subject, ended, "the grants of a person who is disabled have ended");
            }
        }
        Ok(())
    }
}

impl Foundation {
    /// Puts together what answers. What `before` has fetched is kept where it is still asked for. Nothing answers yet.
    pub(super) fn serve(&self, next: Changing, before: Option<&Serving>) -> Result<Serving, AppError> {
        let skew = next.skew();
        let Changing { server, issuers, resources, one_logged_in, nonce_keys } = next;
        let others = self.others(issuers, before.map(|before| &before.others))?;
        let mut serving = Serving {
            site: None,
            check: None,
            server: None,
            asks: false,
            tokens: Arc::new(self.no_tokens()),
            others,
            nonce_keys,
            platforms: Platforms::default(),
            users: None,
            provider: None,
            published: Published::default(),
        };
        let mut trusted = serving.others.trusted();
        let (mut nonce_life, mut documents) = (NONCE_LIFE, None);
        if let Some((server, state)) = server.zip(self.state.as_ref()) {
            nonce_life = server.settings.dpop.nonce_life;
            trusted.push(Arc::new(own(&server.settings, state)));
            let origin = server.metadata_at_gate.clone();
            self.issue(server, (state, skew), (&mut serving, before))?;
            let issued = serving.server.clone();
            documents = origin.zip(issued).map(|(origin, documents)| IssuerDocuments { origin, documents });
        }
        if !resources.is_empty() {
            let parts = Parts { tokens: &serving.tokens, skew, nonce_life, one_logged_in, documents };
            serving.check = Some(self.gate(resources, &trusted, &parts));
        }
        Ok(serving)
    }

    /// Puts the authorization server together.
    fn issue(
        &self,
        server: config::AuthorizationServer,
        (state, skew): (&State, Duration),
        (serving, before): (&mut Serving, Option<&Serving>),
    ) -> Result<(), AppError> {
        let config::AuthorizationServer { settings, login, branding, client_documents, workload_issuers, .. } = server;
        serving.asks = settings.mutual_tls;
        serving.platforms = Platforms::new(workload_issuers, (&self.roots, before.map(|before| &before.platforms)))?;
        let (login, people) = match &self.people {
            Some(people) => people.clone(),
            None => self.people(login, &settings, &state.store, (serving, before))?,
        };
        serving.published =
            Published::new(&settings, client_documents, (&self.roots, before.map(|before| &before.published)))?;
        let dependencies = Dependencies {
            store: Arc::clone(&state.store),
            endings: Arc::clone(&state.endings),
            guard: Arc::clone(&self.guard),
            fence: self.fence(skew),
            keys: Arc::clone(&state.keys),
            login,
            people,
            proof_keys: Arc::clone(&self.proof_keys),
            published_keys: serving.published.keys(),
            client_documents: serving.published.documents(),
            workload_issuers: serving.platforms.trusted(),
            notices: Arc::clone(&state.notices),
            entropy: Arc::clone(&self.entropy),
            tally: Arc::clone(&self.tally),
        };
        let server = Arc::new(AuthorizationServer::new(settings, dependencies));
        let site = AuthorizationSite::new(Arc::clone(&server), Arc::clone(&self.clock), branding);
        serving.site = Some(Arc::new(site.counted_by(Arc::clone(&self.metrics.issuer))));
        serving.server = Some(server);
        Ok(())
    }

    /// How people sign in, and where they are looked up; nobody, where nobody can sign in.
    fn people(
        &self,
        login: Option<config::Login>,
        settings: &Settings,
        store: &Arc<dyn Store>,
        (serving, before): (&mut Serving, Option<&Serving>),
    ) -> Result<(Login, Arc<dyn People>), AppError> {
        let remembered = || Arc::new(RememberedPeople(Arc::clone(store)));
        match login {
            None => Ok((Login::Password(Arc::new(Nobody)), Arc::new(Nobody))),
            Some(config::Login::Local { users_file }) => {
                let users = local_users(users_file, settings)?;
                let users = Arc::new(match before.and_then(|before| before.users.as_ref()) {
                    Some(earlier) => users.after(earlier),
                    None => users,
                });
                serving.users = Some(Arc::clone(&users));
                Ok((Login::Password(Arc::clone(&users) as Arc<_>), users))
            }
            Some(config::Login::Oidc { settings, limits }) => {
                let same = |known: &&Provider| known.settings == settings && known.limits == limits;
                let known = before.and_then(|before| before.provider.as_ref()).filter(same).cloned();
                let provider = if let Some(provider) = known {
                    provider
                } else {
                    let fetcher = Fetcher::new(Reach::Anywhere, limits, &self.roots)?; // the operator has named the provider
                    let made = OidcProvider::new(Arc::clone(&settings), fetcher, Arc::clone(&self.entropy));
                    Provider { settings, limits, made: Arc::new(made) }
                };
                let login = Login::Upstream(Arc::clone(&provider.made) as Arc<_>);
                serving.provider = Some(provider);
                Ok((login, remembered()))
            }
            Some(config::Login::External) => Ok((Login::Elsewhere, remembered())),
            Some(config::Login::Header(headers)) => Ok((Login::Proxy(Arc::new(headers)), remembered())),
        }
    }
}

/// The authorization server of this process, as the gate beside it knows it.
fn own(settings: &Settings, state: &State) -> TokenIssuer {
    let (name, profile) = settings.own_tokens();
    TokenIssuer {
        name,
        profile,
        keys: Arc::clone(&state.keys) as Arc<dyn KeyLookup>,
        revocations: Some(Arc::clone(&state.endings) as Arc<dyn Revocations>),
        opaque: OpaqueTokens::Handles(Arc::clone(&state.handles) as Arc<_>),
    }
}

/// The people of the users file, none of whom may have the name of a client.
fn local_users(path: PathBuf, settings: &Settings) -> Result<LocalUsers, AppError> {
    let text = std::fs::read_to_string(&path).map_err(|cause| AppError::Users { path: path.clone(), cause })?;
    let users: LocalUsers = text.parse().map_err(|cause| AppError::UsersMistakes { path, cause })?;
    let is_client = |subject: &&Subject| settings.clients.iter().any(|client| client.id.as_str() == subject.as_str());
    let taken = users.subjects().find(is_client).map(ToString::to_string);
    taken.map_or_else(|| Ok(users), |name| Err(AppError::SubjectIsClient(name)))
}
