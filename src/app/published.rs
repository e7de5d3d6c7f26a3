//! What clients publish: their keys, and documents that say what they are.

use std::sync::Arc;
use std::time::Duration;

use super::AppError;
use crate::cache::{ClientKeySets, KnownClientDocuments, NoClientDocuments, NoKeySets};
use crate::config;
use crate::fetch::Roots;
use crate::oauth::{Client, ClientDocuments, ClientPolicy, PublishedKeys, Settings};

/// What clients publish, each with what it was made from; `None` where nobody asks for it.
#[derive(Default)]
pub(super) struct Published {
    keys: Option<(Duration, Arc<ClientKeySets>)>,
    documents: Option<((ClientPolicy, Duration), Arc<KnownClientDocuments>)>,
}

impl Published {
    /// As these settings have it. Nothing is fetched yet, and what `before` has fetched under the same is kept.
    pub(super) fn new(
        settings: &Settings,
        config::ClientDocuments { timeout, .. }: config::ClientDocuments,
        (roots, before): (&Roots, Option<&Self>),
    ) -> Result<Self, AppError> {
        let strangers = settings.registration.is_some() || settings.client_id_documents.is_some();
        let keys = (strangers || settings.clients.iter().any(Client::publishes_keys)).then_some(timeout);
        let documents = settings.client_id_documents.as_ref().map(|such| (such.policy.clone(), timeout));
        Ok(Self {
            keys: keep(keys, before.and_then(|before| before.keys.as_ref()), |timeout| {
                ClientKeySets::new(*timeout, roots)
            })?,
            documents: keep(documents, before.and_then(|before| before.documents.as_ref()), |(policy, timeout)| {
                KnownClientDocuments::new(policy.clone(), *timeout, roots)
            })?,
        })
    }

    /// Where the keys of clients are found that publish them.
    pub(super) fn keys(&self) -> Arc<dyn PublishedKeys> {
        match &self.keys {
            Some((_, keys)) => Arc::clone(keys) as Arc<_>,
            None => Arc::new(NoKeySets),
        }
    }

    /// Where clients are found that say what they are in a document.
    pub(super) fn documents(&self) -> Arc<dyn ClientDocuments> {
        match &self.documents {
            Some((_, documents)) => Arc::clone(documents) as Arc<_>,
            None => Arc::new(NoClientDocuments),
        }
    }
}

/// What there was, if it was made from the same; else what is made from `wanted`.
fn keep<K: PartialEq, T, E>(
    wanted: Option<K>,
    before: Option<&(K, Arc<T>)>,
    make: impl FnOnce(&K) -> Result<T, E>,
) -> Result<Option<(K, Arc<T>)>, E> {
    let Some(wanted) = wanted else { return Ok(None) };
    let made = match before.filter(|(known, _)| *known == wanted) {
        Some((_, made)) => Arc::clone(made),
        None => Arc::new(make(&wanted)?),
    };
    Ok(Some((wanted, made)))
}
