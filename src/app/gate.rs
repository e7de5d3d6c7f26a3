//! The gate of a process, whether it issues tokens too or not.

use std::sync::Arc;
use std::time::Duration;

use super::AppError;
use crate::authz::{Enforcer, OpaqueTokens, ResourceSettings, TokenCache, TokenIssuer};
use crate::cache::Tokens;
use crate::clock::Clock;
use crate::dpop::{Fence, Nonces, ProofKeys};
use crate::entropy::Entropy;
use crate::fetch::{Fetcher, Reach};
use crate::grpc::CheckService;
use crate::issuers::{Introspection, IssuerKeys, IssuerSettings, KeyForm};
use crate::replay::ReplayGuard;
use crate::secret::seal::RootKey;
use crate::token::KeyLookup;

/// What a gate needs, beside what it is to protect.
pub(super) struct Parts {
    pub(super) guard: Arc<dyn ReplayGuard>,
    pub(super) fence: Fence,
    pub(super) proof_keys: Arc<dyn ProofKeys>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) root: RootKey,
    pub(super) clock: Arc<dyn Clock>,
}

impl Parts {
    /// The gate to these resources, which take tokens of these issuers.
    pub(super) fn service(
        self,
        resources: Vec<ResourceSettings>,
        issuers: &[Arc<TokenIssuer>],
        nonce_life: Duration,
    ) -> CheckService {
        let nonces = |resource: &ResourceSettings| {
            let key = self.root.derive(&format!("nonces of the resource {}", resource.audience));
            Nonces::new(key, nonce_life)
        };
        let resources = resources.into_iter().map(|resource| (nonces(&resource), resource));
        let resources = resources.map(|(nonces, resource)| (resource, nonces)).collect();
        let tokens = self.tokens as Arc<dyn TokenCache>;
        let enforcer = Enforcer::new(resources, issuers, tokens, self.proof_keys, self.fence);
        CheckService::new(enforcer, self.guard, self.clock)
    }
}

/// The other issuers of a process.
pub(super) struct Others {
    /// As the gate knows them.
    pub(super) trusted: Vec<Arc<TokenIssuer>>,
    /// Their keys, which somebody must look after.
    pub(super) keys: Vec<Arc<IssuerKeys>>,
}

impl Others {
    /// Those that an operator has named. Nothing is fetched yet. When one of them withdraws a key, `tokens` are forgotten.
    pub(super) fn new(
        issuers: Vec<IssuerSettings>,
        tokens: &Arc<Tokens>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, AppError> {
        let (mut trusted, mut keys) = (Vec::new(), Vec::new());
        for IssuerSettings { name, keys: source, profile, introspection, limits } in issuers {
            let fetcher = Fetcher::new(Reach::Anywhere, limits)?; // the operator has named the issuer
            let tokens = Arc::clone(tokens);
            let withdrawn = Arc::new(move || tokens.forget_all());
            let of_issuer = Arc::new(IssuerKeys::new(name.as_str(), (&source, KeyForm::Jwks), &fetcher, withdrawn));
            keys.push(Arc::clone(&of_issuer));
            let opaque = introspection.map_or(OpaqueTokens::None, |settings| {
                let entropy = Arc::clone(entropy);
                OpaqueTokens::Introspected(Arc::new(Introspection::new(name.clone(), settings, fetcher, entropy)))
            });
            trusted.push(Arc::new(TokenIssuer {
                name,
                profile,
                keys: of_issuer as Arc<dyn KeyLookup>,
                revocations: None,
                opaque,
            }));
        }
        Ok(Self { trusted, keys })
    }
}
