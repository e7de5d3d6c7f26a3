//! The platforms that vouch for workloads.

use std::sync::Arc;

use super::AppError;
use crate::config;
use crate::fetch::{FetchLimits, Fetcher, Reach};
use crate::issuers::{IssuerKeys, KeyForm};
use crate::oauth::WorkloadIssuer;
use crate::oauth::workload::Platform;
use crate::token::KeyLookup;

/// The platforms that an operator has named, and their keys, which somebody must look after. Nothing is fetched yet.
pub(super) fn workload_issuers(
    issuers: Vec<config::WorkloadIssuer>,
) -> Result<(Vec<WorkloadIssuer>, Vec<Arc<IssuerKeys>>), AppError> {
    let (mut trusted, mut looked_after) = (Vec::new(), Vec::new());
    for config::WorkloadIssuer { platform, keys, authorities, token_file, algorithms, longest } in issuers {
        // The operator has named whom to ask.
        let fetcher = Fetcher::trusting(Reach::Anywhere, FetchLimits::default(), &authorities)?.showing(token_file);
        let (name, form) = match &platform {
            Platform::Kubernetes(issuer) => (issuer.to_string(), KeyForm::Jwks),
            Platform::Spiffe(domain) => (domain.to_string(), KeyForm::SpiffeBundle),
        };
        // Each assertion is verified anew, so a key that is withdrawn is gone at once.
        let keys = Arc::new(IssuerKeys::new(&name, (&keys, form), &fetcher, Arc::new(|| {})));
        looked_after.push(Arc::clone(&keys));
        trusted.push(WorkloadIssuer { platform, keys: keys as Arc<dyn KeyLookup>, algorithms, longest });
    }
    Ok((trusted, looked_after))
}
