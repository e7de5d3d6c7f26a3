//! `tollgate inject`: puts the sidecar into the pods of a file, or serves the webhook that does so in a cluster.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use miette::Diagnostic;
use reqwest::Url;
use tokio::sync::oneshot;

use super::signals::{Signals, Told};
use crate::app::{AppError, Injector, InjectorCertificate, InjectorSettings, Stop};
use crate::config::Delay;
use crate::inject::{self, ManifestFault, Template, inject_into_manifest, take_out_of_manifest};
use crate::telemetry::{self, Feed, LogFilter};
use crate::web::TlsFiles;

/// The image of this version, in the repository that the build was told.
const IMAGE: &str = concat!(env!("TOLLGATE_IMAGE_REPOSITORY"), ":", env!("CARGO_PKG_VERSION"));

/// What to inject into.
#[derive(Debug, Args)]
pub(super) struct Inject {
    /// A file with Kubernetes objects; `-` is standard input
    #[arg(value_name = "FILE", default_value = "-", conflicts_with = "serve")]
    file: PathBuf,
    /// The image of the sidecar, unless a pod names another one in `tollgate.dev/image`
    #[arg(long, value_name = "IMAGE", env = "TOLLGATE_IMAGE", default_value = IMAGE)]
    image: String,
    /// When nodes pull that image
    #[arg(long, value_name = "POLICY", default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: String,
    /// Where every sidecar sends its traces (`OTEL_EXPORTER_OTLP_ENDPOINT`)
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<Url>,
    /// Take the sidecars out again that were put into the file
    #[arg(long, conflicts_with_all = ["serve", "print_policy"])]
    uninject: bool,
    /// Answer the API server of a cluster here, as an admission webhook
    #[arg(long, value_name = "ADDRESS", requires = "certificate", requires = "private_key")]
    serve: Option<SocketAddr>,
    /// Print the policy that has the API server of Kubernetes 1.36 and later do the same, without a webhook
    #[arg(long, conflicts_with_all = ["file", "serve", "image"])]
    print_policy: bool,
    /// Where health is, with --serve
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090", requires = "serve")]
    admin: SocketAddr,
    /// The certificate of the webhook, in PEM; read again every minute, and at SIGHUP
    #[arg(long, value_name = "FILE", requires = "serve")]
    certificate: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "serve")]
    private_key: Option<PathBuf>,
    /// How long reviews are still answered after SIGTERM, while the API server learns that it should ask elsewhere; at most 5m
    #[arg(long, value_name = "DURATION", default_value = "5s", requires = "serve")]
    shutdown_delay: Delay,
    /// What to log, with --serve
    #[arg(long, value_name = "FILTER", env = "TOLLGATE_LOG", default_value = "info", requires = "serve")]
    log: LogFilter,
}

/// Why nothing was injected.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(super) enum InjectVerbError {
    /// The file cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The result cannot be written.
    #[error("cannot write the result")]
    Write(#[source] io::Error),
    /// The policy cannot be written.
    #[error("cannot write the policy")]
    Policy(#[source] Box<serde_saphyr::ser::Error>),
    /// The file says what cannot be.
    #[error(transparent)]
    Manifest(#[from] ManifestFault),
    /// The webhook did not start.
    #[error(transparent)]
    App(#[from] AppError),
    /// The webhook cannot write its log, or listen to signals.
    #[error("cannot serve the webhook")]
    Serve(#[source] io::Error),
    /// Somebody was in a hurry.
    #[error("told to stop a second time: reviews in flight were cut off")]
    CutOff,
}

impl Inject {
    /// Prints the file with its sidecars, and tells on standard error what was done; or serves.
    pub(super) async fn run(self) -> Result<ExitCode, InjectVerbError> {
        if self.print_policy {
            let policy = inject::policy().map_err(|error| InjectVerbError::Policy(Box::new(error)))?;
            io::stdout().write_all(policy.as_bytes()).map_err(InjectVerbError::Write)?;
            return Ok(ExitCode::SUCCESS);
        }
        let template = Template {
            image: self.image,
            pull_policy: self.image_pull_policy,
            otlp_endpoint: self.otlp_endpoint.map(Into::into),
        };
        if let (Some(address), Some(certificate), Some(private_key)) = (self.serve, self.certificate, self.private_key)
        {
            let tls = TlsFiles { certificate, private_key };
            let delay = self.shutdown_delay.0;
            let settings = InjectorSettings { address, admin: self.admin, tls, template, delay };
            return serve(settings, &self.log).await;
        }
        let mut text = String::new();
        let read = if self.file.as_os_str() == "-" {
            io::stdin().read_to_string(&mut text)
        } else {
            std::fs::File::open(&self.file).and_then(|mut file| file.read_to_string(&mut text))
        };
        read.map_err(|error| InjectVerbError::Read(self.file.clone(), error))?;
        let (changed, now) = if self.uninject {
            (take_out_of_manifest(&text)?, "has no sidecar any more")
        } else {
            (inject_into_manifest(&text, &template)?, "has the sidecar")
        };
        io::stdout().write_all(changed.text.as_bytes()).map_err(InjectVerbError::Write)?;
        for name in &changed.pods {
            eprintln!("{name}: {now}");
        }
        for (name, skip) in &changed.skipped {
            eprintln!("{name}: left as it is: {}", skip.reason());
        }
        if changed.pods.is_empty() && changed.skipped.is_empty() {
            eprintln!("there is no pod in it");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Serves until SIGTERM or SIGINT, then drains; at a second one drops everything. At SIGHUP the certificate is read again.
async fn serve(settings: InjectorSettings, log: &LogFilter) -> Result<ExitCode, InjectVerbError> {
    let _log =
        telemetry::init(log, &Feed::default()).map_err(|error| InjectVerbError::Serve(io::Error::other(error)))?;
    let mut signals = Signals::listen().map_err(InjectVerbError::Serve)?;
    let injector = Injector::start(settings).await?;
    let (webhook, admin) = injector.addresses().map_err(InjectVerbError::Serve)?;
    tracing::info!(%webhook, %admin, "tollgate serves");
    let certificate = injector.certificate();
    let (stop, stopped) = oneshot::channel();
    let told_twice = async {
        let told = told_to_stop(&mut signals, &certificate).await;
        let _ = stop.send(told); // or it has ended by itself
        told_to_stop(&mut signals, &certificate).await;
    };
    tokio::select! {
        () = injector.run(async { stopped.await.unwrap_or(Stop::AtOnce) }) => Ok(ExitCode::SUCCESS),
        () = told_twice => Err(InjectVerbError::CutOff),
    }
}

/// Resolves at SIGTERM, which comes from who has others to tell as well, or SIGINT, at which a person waits.
async fn told_to_stop(signals: &mut Signals, certificate: &InjectorCertificate) -> Stop {
    loop {
        match signals.next().await {
            Told::Terminate => return Stop::Announced,
            Told::Interrupt => return Stop::AtOnce,
            Told::Hangup => certificate.read_again().await,
        }
    }
}
