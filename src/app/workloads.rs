//! The platforms that vouch for workloads.

use std::sync::Arc;

use super::AppError;
use crate::config;
use crate::fetch::{FetchLimits, Fetcher, Reach, Roots};
use crate::issuers::{IssuerKeys, KeyForm};
use crate::oauth::WorkloadIssuer;
use crate::oauth::workload::Platform;
use crate::token::KeyLookup;

/// The platforms that an operator has named, each with its keys, which somebody must look after.
#[derive(Default)]
pub(super) struct Platforms(Vec<(config::WorkloadIssuer, Arc<IssuerKeys>)>);

impl Platforms {
    /// Those of a configuration. Nothing is fetched yet, and whose settings are as `before` is not fetched again.
    pub(super) fn new(
        issuers: Vec<config::WorkloadIssuer>,
        (roots, before): (&Roots, Option<&Self>),
    ) -> Result<Self, AppError> {
        let known = |settings: config::WorkloadIssuer| {
            let same = |(known, _): &&(config::WorkloadIssuer, Arc<IssuerKeys>)| *known == settings;
            let keys = match before.and_then(|before| before.0.iter().find(same)) {
                Some((_, keys)) => Arc::clone(keys),
                None => Arc::new(keys(&settings, roots)?),
            };
            Ok((settings, keys))
        };
        issuers.into_iter().map(known).collect::<Result<_, AppError>>().map(Self)
    }

    /// As the authorization server knows them.
    pub(super) fn trusted(&self) -> Vec<WorkloadIssuer> {
        let trusted = |(settings, keys): &(config::WorkloadIssuer, Arc<IssuerKeys>)| WorkloadIssuer {
            platform: settings.platform.clone(),
            keys: Arc::clone(keys) as Arc<dyn KeyLookup>,
            algorithms: settings.algorithms.clone(),
            longest: settings.longest,
        };
        self.0.iter().map(trusted).collect()
    }

    /// Their keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = Arc<IssuerKeys>> {
        self.0.iter().map(|(_, keys)| Arc::clone(keys))
    }
}

fn keys(settings: &config::WorkloadIssuer, roots: &Roots) -> Result<IssuerKeys, AppError> {
    let config::WorkloadIssuer { platform, keys, authorities, token_file, .. } = settings;
    // The operator has named whom to ask.
    let roots = roots.and(authorities);
    let fetcher = Fetcher::new(Reach::Anywhere, FetchLimits::default(), &roots)?.showing(token_file.clone());
    let (name, form) = match platform {
        Platform::Kubernetes(issuer) => (issuer.to_string(), KeyForm::Jwks),
        Platform::Spiffe(domain) => (domain.to_string(), KeyForm::SpiffeBundle),
    };
    // Each assertion is verified anew, so a key that is withdrawn is gone at once.
    Ok(IssuerKeys::new(&name, (keys, form), &fetcher, Arc::new(|| {})))
}
