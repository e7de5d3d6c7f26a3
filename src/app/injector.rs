//! The admission webhook, which has no state and asks nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{AppError, LAST_PROBE, Stop, bind_within, told};
use crate::clock::{SystemClock, pause};
use crate::inject::Template;
use crate::telemetry::Metrics;
use crate::web::{AdminSite, Door, InjectorSite, Limits, Site, Tls, TlsFiles};

/// How often certificate and key are read again.
const CERTIFICATES_EVERY: Duration = Duration::from_mins(1);

/// The longest review, in bytes: etcd takes no larger objects, and a review may hold two.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// Where an injector listens, and with what.
#[derive(Debug)]
pub struct InjectorSettings {
    /// Where the API server asks.
    pub address: SocketAddr,
    /// Where health is.
    pub admin: SocketAddr,
    /// The certificate that the API server trusts.
    pub tls: TlsFiles,
    /// What every pod gets.
    pub template: Template,
    /// How long reviews are still answered once it is told to stop, so that the API server learns of it.
    pub delay: Duration,
}

/// A webhook whose listeners are bound.
pub struct Injector {
    webhook: (Door, Arc<dyn Site>),
    admin: (Door, Arc<dyn Site>),
    tls: Tls,
    delay: Duration,
    /// Whether this process is about to end.
    ending: Arc<AtomicBool>,
}

impl Injector {
    /// Reads the certificate and binds the listeners.
    ///
    /// # Errors
    /// [`AppError`] says what is in the way.
    pub async fn start(settings: InjectorSettings) -> Result<Self, AppError> {
        let tls = Tls::new(settings.tls, false)?;
        let limits = Limits { body: BODY_LIMIT, ..Limits::default() };
        let webhook = bind_within(settings.address, limits).await?.encrypted(tls.clone());
        let admin = bind_within(settings.admin, Limits { drain: LAST_PROBE, ..Limits::default() }).await?;
        let ending = Arc::new(AtomicBool::new(false));
        let mut metrics = Metrics::new();
        let injections = metrics.injections();
        let health = AdminSite {
            store: None,
            keys: None,
            guard: None,
            clock: Arc::new(SystemClock),
            takes_writes: Arc::new(AtomicBool::new(true)),
            metrics: Arc::new(metrics),
            standing: None,
            issuers: Arc::default(),
            ending: Arc::clone(&ending),
        };
        let site = Arc::new(InjectorSite { template: settings.template, injections });
        let (webhook, admin) = ((webhook, site as Arc<dyn Site>), (admin, Arc::new(health) as Arc<dyn Site>));
        Ok(Self { webhook, admin, tls, delay: settings.delay, ending })
    }

    /// Where it listens: the webhook, and health.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.webhook.0.address()?, self.admin.0.address()?))
    }

    /// The certificate, to be read again when somebody says so.
    #[must_use]
    pub fn certificate(&self) -> InjectorCertificate {
        InjectorCertificate(self.tls.clone())
    }

    /// Answers until `shutdown` resolves, then fails readiness; if it is to be announced, reviews are answered for a while
    /// longer, since the API server picks a replica from a list that lags behind. Then reviews in flight finish. Health is
    /// told to the end.
    pub async fn run(self, shutdown: impl Future<Output = Stop>) {
        let certificate = self.certificate();
        let (stop, drained) = (watch::Sender::new(false), watch::Sender::new(false));
        let (webhook, site) = self.webhook;
        let (admin, health) = self.admin;
        let answer = async {
            webhook.serve(site, told(&stop)).await;
            drained.send_replace(true);
        };
        let until = async {
            let announced = shutdown.await == Stop::Announced;
            self.ending.store(true, Ordering::Relaxed);
            if announced {
                let delay = self.delay.as_secs();
                tracing::info!(delay, "told to stop: readiness fails, and reviews are answered for {delay} s more");
                pause(self.delay).await;
            }
            stop.send_replace(true);
        };
        tokio::select! {
            _ = async { tokio::join!(answer, admin.serve(health, told(&drained)), until) } => {}
            () = renew(certificate) => {}
        }
    }
}

/// What the webhook shows the API server.
#[derive(Clone)]
pub struct InjectorCertificate(Tls);

impl InjectorCertificate {
    /// Reads certificate and key again; if they do not fit, the old ones stay.
    pub async fn read_again(&self) {
        let tls = self.0.clone();
        match tokio::task::spawn_blocking(move || tls.reload()).await {
            Ok(Ok(true)) => tracing::info!("the webhook shows a new certificate"),
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(fault)) => tracing::error!(%fault, "the certificate could not be read again; the old one stays"),
        }
    }
}

/// Reads the certificate again and again: it is renewed while we run.
async fn renew(certificate: InjectorCertificate) {
    let mut ticks = interval(CERTIFICATES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        certificate.read_again().await;
    }
}
