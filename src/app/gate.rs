//! The gate of a process, whether it issues tokens too or not.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::AppError;
use super::foundation::Foundation;
use crate::authz::{
    Enforcer, IssuerDocuments, OpaqueTokens, ResourceSettings, TokenCache, TokenIssuer, UpstreamAuthorization,
};
use crate::cache::Tokens;
use crate::dpop::Nonces;
use crate::fetch::{Fetcher, Reach};
use crate::grpc::CheckService;
use crate::ident::IssuerName;
use crate::issuers::{Introspection, IssuerKeys, IssuerSettings, KeyForm, QuestionLimits, Questions, StatusLists};
use crate::token::{KeyLookup, Revocations};

/// What a gate needs, beside its foundation and what it is to protect.
pub(super) struct Parts<'a> {
    pub(super) tokens: &'a Arc<Tokens>,
    /// How far clocks of clients may be ahead of ours.
    pub(super) skew: Duration,
    pub(super) nonce_life: Duration,
    /// One in how many allowed requests is logged for all to see, if any is.
    pub(super) one_logged_in: Option<NonZeroU32>,
    /// What it answers for the authorization server beside it, if it does.
    pub(super) documents: Option<IssuerDocuments>,
}

impl Foundation {
    /// The gate to these resources, which take tokens of these issuers.
    pub(super) fn gate(
        &self,
        resources: Vec<ResourceSettings>,
        issuers: &[Arc<TokenIssuer>],
        parts: &Parts<'_>,
    ) -> CheckService {
        let metrics = self.metrics.gate(resources.iter().map(|resource| resource.audience.as_str()));
        let mut resources = resources;
        for resource in &mut resources {
            if let UpstreamAuthorization::Internal(tokens) = &mut resource.upstream.authorization {
                tokens.keys.get_or_insert_with(|| self.upstream_keys.clone());
            }
        }
        let nonces = |resource: &ResourceSettings| {
            let key = self.secrets.derive(&format!("nonces of the resource {}", resource.audience));
            Nonces::new(key, parts.nonce_life)
        };
        let resources = resources.into_iter().map(|resource| (nonces(&resource), resource));
        let resources = resources.map(|(nonces, resource)| (resource, nonces)).collect();
        let tokens = Arc::clone(parts.tokens) as Arc<dyn TokenCache>;
        let fence = self.fence(parts.skew);
        let enforcer = Enforcer::new(resources, issuers, tokens, Arc::clone(&self.proof_keys), fence);
        let enforcer = enforcer.describing(parts.documents.clone());
        let service = CheckService::new(enforcer, Arc::clone(&self.guard), Arc::clone(&self.clock));
        service.counted_by(Arc::new(metrics)).traced_by(self.traces.clone()).sampled(parts.one_logged_in)
    }

    /// Those issuers that an operator has named. Nothing is fetched yet, and whose settings are as `before` is not fetched
    /// again. When one of them withdraws a key, the tokens that were verified are forgotten.
    pub(super) fn others(&self, issuers: Vec<IssuerSettings>, before: Option<&Others>) -> Result<Others, AppError> {
        let known = |settings: IssuerSettings| {
            let same = |known: &&Known| *known.settings == settings;
            match before.and_then(|before| before.0.iter().find(same)) {
                Some(known) => Ok(known.clone()),
                None => self.other(settings),
            }
        };
        issuers.into_iter().map(known).collect::<Result<_, AppError>>().map(Others)
    }

    fn other(&self, settings: IssuerSettings) -> Result<Known, AppError> {
        let roots = self.roots.and(&settings.authorities);
        let fetcher = Fetcher::new(Reach::Anywhere, settings.limits, &roots)?; // the operator has named the issuer
        let tokens = Arc::clone(&self.tokens);
        let withdrawn = Arc::new(move || tokens.get().forget_all());
        let name = &settings.name;
        let keys = Arc::new(IssuerKeys::new(name.as_str(), (&settings.keys, KeyForm::Jwks), &fetcher, withdrawn));
        let questions = settings.introspection.as_ref().map(|asked| {
            let (asked, entropy) = (Arc::clone(asked), Arc::clone(&self.entropy));
            let limits = QuestionLimits::elsewhere(asked.kept);
            let lookup = Introspection::new(name.clone(), asked, fetcher, entropy);
            Arc::new(Questions::new(Arc::new(lookup), limits))
        });
        let signed =
            (Arc::clone(&keys) as Arc<dyn KeyLookup>, settings.profile.algorithms.clone(), settings.profile.skew);
        let times = (settings.limits.time, settings.status_list_stale);
        let lists = Arc::new(StatusLists::new(name.clone(), signed, times, &roots)?);
        let issuer = Arc::new(TokenIssuer {
            name: name.clone(),
            profile: settings.profile.clone(),
            keys: Arc::clone(&keys) as Arc<dyn KeyLookup>,
            revocations: Some(Arc::clone(&lists) as Arc<dyn Revocations>),
            opaque: questions.clone().map_or(OpaqueTokens::None, |asked| OpaqueTokens::Introspected(asked)),
        });
        Ok(Known { settings: Arc::new(settings), keys, lists, questions, issuer })
    }
}

/// The other issuers of a process.
pub(super) struct Others(Vec<Known>);

/// One of them, as an operator has named it and as the gate knows it.
#[derive(Clone)]
struct Known {
    settings: Arc<IssuerSettings>,
    keys: Arc<IssuerKeys>,
    lists: Arc<StatusLists>,
    questions: Option<Arc<Questions>>,
    issuer: Arc<TokenIssuer>,
}

impl Others {
    /// As the gate knows them.
    pub(super) fn trusted(&self) -> Vec<Arc<TokenIssuer>> {
        self.0.iter().map(|known| Arc::clone(&known.issuer)).collect()
    }

    /// Their keys, which somebody must look after.
    pub(super) fn keys(&self) -> impl Iterator<Item = Arc<IssuerKeys>> {
        self.0.iter().map(|known| Arc::clone(&known.keys))
    }

    /// Where they are asked about opaque tokens.
    pub(super) fn questions(&self) -> impl Iterator<Item = (IssuerName, Arc<Questions>)> {
        let of = |known: &Known| Some((known.settings.name.clone(), Arc::clone(known.questions.as_ref()?)));
        self.0.iter().filter_map(of)
    }

    /// Their status lists, which somebody must look after.
    pub(super) fn lists(&self) -> impl Iterator<Item = Arc<StatusLists>> {
        self.0.iter().map(|known| Arc::clone(&known.lists))
    }
}
