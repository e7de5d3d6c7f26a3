//! Another configuration in force while requests are answered: the whole of it, or nothing.
//!
//! Everything that answers under the next configuration is put together first; whatever is wrong shows then, and the one in
//! force stays. Then each door gets what it answers with from now on. A request keeps what was there when it came, so none
//! sees half of two configurations, and those in flight finish under the one that they began under.
//!
//! What is decided when the program starts needs a restart: where it listens, where its state is, and which of its two roles
//! it has. A configuration that changes any of that is not in force in part.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::AppError;
use super::foundation::Foundation;
use super::serving::{Changing, Serving};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::fetch::Roots;
use crate::grpc::{AdminService, CheckService};
use crate::issuers::{ListsLookedAfter, LookedAfter};
use crate::store::Limits;
use crate::web::{Switched, Tls, TlsFault};

/// Why a configuration is not in force, although there is no mistake in it.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It changes what is decided when the program starts.
    #[error("{} a restart", needs(.0))]
    Restart(Vec<&'static str>),
    /// The certificate of the public listener cannot be used.
    #[error("cannot speak TLS")]
    Tls(#[from] TlsFault),
    /// It cannot be served.
    #[error(transparent)]
    App(#[from] AppError),
}

fn needs(settings: &[&str]) -> String {
    let named: Vec<_> = settings.iter().map(|setting| format!("`{setting}`")).collect();
    format!("{} need{}", named.join(", "), if named.len() == 1 { "s" } else { "" })
}

/// What takes effect when the program starts, and then no more.
#[derive(PartialEq)]
pub(super) struct Fixed {
    listen: config::Listen,
    shutdown: config::Shutdown,
    pub(super) store: config::Store,
    limits: Limits,
    replay: config::Replay,
    roots: Roots,
    /// `None` if this process does not issue.
    signing: Option<config::Signing>,
    /// Whether people sign in elsewhere.
    external_login: bool,
    /// Whether there is anything for the gate to be asked about.
    protects: bool,
}

impl Fixed {
    pub(super) fn of(config: &Config) -> Self {
        let server = config.authorization_server.as_ref();
        Self {
            listen: config.listen.clone(),
            shutdown: config.shutdown,
            store: config.store.clone(),
            limits: config.limits,
            replay: config.replay.clone(),
            roots: config.roots.clone(),
            signing: server.map(|server| server.signing.clone()),
            external_login: server.is_some_and(|server| server.settings.external_login.is_some()),
            protects: !config.protected_resources.is_empty(),
        }
    }

    /// The settings that are others there.
    fn changed(&self, next: &Self) -> Vec<&'static str> {
        let roles = self.signing.is_some() != next.signing.is_some();
        let limits = Limits { kept: self.limits.kept, ..next.limits };
        let compared = [
            ("listen.public", self.listen.public != next.listen.public),
            ("listen.ext_authz", self.listen.ext_authz != next.listen.ext_authz),
            (
                "listen.admin",
                (self.listen.admin, &self.listen.admin_api) != (next.listen.admin, &next.listen.admin_api),
            ),
            ("shutdown", self.shutdown != next.shutdown),
            ("store", self.store != next.store || self.limits != limits),
            ("replay", self.replay != next.replay),
            ("tls.roots", self.roots != next.roots),
            ("authorization_server", roles),
            ("authorization_server.signing", !roles && self.signing != next.signing),
            ("authorization_server.login", !roles && self.external_login != next.external_login),
            // The store forgets by the lifetimes that it was opened with.
            ("authorization_server.tokens", !roles && self.limits.kept < next.limits.kept),
            ("protected_resources", self.protects != next.protects),
        ];
        compared.into_iter().filter(|(_, changed)| *changed).map(|(setting, _)| setting).collect()
    }
}

/// Where answers come from.
pub(super) struct Live {
    pub(super) site: Option<Arc<Switched>>,
    pub(super) check: Option<CheckService>,
    pub(super) api: Option<AdminService>,
    pub(super) tls: Option<Tls>,
}

/// Puts another configuration in force.
pub struct Reloader {
    foundation: Foundation,
    fixed: Fixed,
    /// What is in force; one reload at a time.
    in_force: Mutex<Serving>,
    live: Live,
}

impl Reloader {
    /// Shows what answers first.
    pub(super) fn new(foundation: Foundation, (fixed, serving): (Fixed, Serving), live: Live) -> Self {
        foundation.follow(&serving);
        Self { foundation, fixed, in_force: Mutex::new(serving), live }
    }

    /// Puts `config` in force, from the next request on.
    ///
    /// # Errors
    /// [`ReloadError`]; then nothing has changed.
    pub async fn reload(&self, config: Config) -> Result<(), ReloadError> {
        let mut in_force = self.in_force.lock().await;
        let digest = config.digest;
        let reloaded = self.try_reload(config, &mut in_force).await;
        match &reloaded {
            Ok(()) => self.foundation.standing.reloaded(digest, self.foundation.clock.now()),
            Err(error) => self.refuse(error.to_string()),
        }
        reloaded
    }

    /// Notes that a configuration was not even tried, and why: in words of ours, since they are shown to whoever asks.
    pub fn refuse(&self, why: String) {
        self.foundation.standing.refused(why, self.foundation.clock.now());
    }

    async fn try_reload(&self, config: Config, in_force: &mut Serving) -> Result<(), ReloadError> {
        let changed = self.fixed.changed(&Fixed::of(&config));
        if !changed.is_empty() {
            return Err(ReloadError::Restart(changed));
        }
        let next = self.foundation.serve(Changing::of(config), Some(in_force))?;
        let shown = self.live.tls.as_ref().map(|tls| tls.prepare(next.asks)).transpose()?;
        let now = self.foundation.clock.now();
        for issuer in next.issuers() {
            issuer.read_file_again(now).await;
        }
        if let Some(state) = &self.foundation.state {
            next.end_grants_of_disabled(state, now).await.map_err(AppError::from)?;
        }
        if let (Some(tls), Some(shown)) = (&self.live.tls, shown) {
            tls.show(shown);
        }
        self.show(&next);
        *in_force = next;
        Ok(())
    }

    /// Hands each door what it answers with.
    fn show(&self, next: &Serving) {
        self.foundation.follow(next);
        if let (Some(live), Some(check)) = (&self.live.check, &next.check) {
            live.replace(check);
        }
        if let (Some(live), Some(server)) = (&self.live.api, &next.server) {
            live.replace(Arc::clone(server));
        }
        if let (Some(live), Some(site)) = (&self.live.site, &next.site) {
            live.replace(Arc::clone(site));
        }
    }

    /// The keys of others, which somebody must look after, and the clock by which they are fresh.
    pub(super) fn issuers(&self) -> ((LookedAfter, ListsLookedAfter), Arc<dyn Clock>) {
        let lists = Arc::clone(&self.foundation.lists);
        ((Arc::clone(&self.foundation.issuers), lists), Arc::clone(&self.foundation.clock))
    }
}
