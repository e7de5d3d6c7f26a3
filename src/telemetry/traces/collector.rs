//! How spans get to a collector: by which protocol, and who must vouch for it where the connection is encrypted.
//!
//! The exporter reads most variables of the [OpenTelemetry specification] itself. Not so `OTEL_EXPORTER_OTLP_CERTIFICATE`,
//! `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE` and `OTEL_EXPORTER_OTLP_CLIENT_KEY`, files in PEM. Each variable has a twin for traces alone,
//! which counts more.
//!
//! [OpenTelemetry specification]: https://opentelemetry.io/docs/specs/otel/protocol/exporter/

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _, WithTonicConfig as _};
use tokio::task::block_in_place;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::TracesFault;
use crate::fetch::Roots;

/// How long a batch may take to be taken, if the variables do not say (`OTEL_EXPORTER_OTLP_TIMEOUT`).
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the variables of the environment say about the way to a collector.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Collector {
    /// Whether it is called by gRPC.
    grpc: bool,
    /// Whether nobody on the way may read.
    encrypted: bool,
    timeout: Duration,
    /// Who vouches for it, instead of those that count elsewhere.
    authorities: Option<PathBuf>,
    /// What we show to it: a certificate and its key.
    identity: [Option<PathBuf>; 2],
}

impl Collector {
    pub(super) fn named(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let told = |name: &str| {
            let twins = [format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")];
            twins.iter().find_map(|name| variable(name).filter(|value| !value.is_empty()))
        };
        let text = |name: &str| told(name).map(|value| value.to_string_lossy().to_ascii_lowercase());
        let file = |name: &str| told(name).map(PathBuf::from);
        Self {
            grpc: text("PROTOCOL").as_deref() == Some("grpc"),
            // What has no scheme is https for gRPC.
            encrypted: text("ENDPOINT")
                .is_some_and(|endpoint| !["http:", "unix:"].iter().any(|plain| endpoint.starts_with(plain))),
            timeout: text("TIMEOUT").and_then(|text| text.parse().ok()).map_or(TIMEOUT, Duration::from_millis),
            authorities: file("CERTIFICATE"),
            identity: [file("CLIENT_CERTIFICATE"), file("CLIENT_KEY")],
        }
    }

    /// Where spans are given to. `roots` vouch for it if the variables do not say who does. To be called in a runtime of several
    /// threads.
    pub(super) fn exporter(&self, roots: &Roots) -> Result<SpanExporter, TracesFault> {
        if !self.encrypted {
            return Ok(SpanExporter::builder().build()?);
        }
        let roots = match &self.authorities {
            Some(path) => Roots::only(read(path)?),
            None => roots.clone(),
        };
        let identity = match &self.identity {
            [Some(certificate), Some(key)] => Some([read(certificate)?, read(key)?]),
            [None, None] => None,
            [Some(_), None] | [None, Some(_)] => return Err(TracesFault::HalfAnIdentity),
        };
        if self.grpc { self.over_grpc(&roots, identity) } else { self.over_http(&roots, identity) }
    }

    fn over_grpc(&self, roots: &Roots, identity: Option<[Vec<u8>; 2]>) -> Result<SpanExporter, TracesFault> {
        let tls =
            ClientTlsConfig::new().timeout(self.timeout).ca_certificate(Certificate::from_pem(roots.authorities()));
        let tls = if roots.are_exclusive() { tls } else { tls.with_native_roots() };
        let tls = match identity {
            Some([certificate, key]) => tls.identity(Identity::from_pem(certificate, key)),
            None => tls,
        };
        Ok(SpanExporter::builder().with_tonic().with_tls_config(tls).build()?)
    }

    fn over_http(&self, roots: &Roots, identity: Option<[Vec<u8>; 2]>) -> Result<SpanExporter, TracesFault> {
        let authorities = reqwest::Certificate::from_pem_bundle(roots.authorities()).map_err(TracesFault::Client)?;
        let client = reqwest::blocking::Client::builder().timeout(self.timeout);
        let client = if roots.are_exclusive() {
            client.tls_certs_only(authorities)
        } else {
            client.tls_certs_merge(authorities)
        };
        let client = match identity {
            Some(pem) => client.identity(reqwest::Identity::from_pem(&pem.concat()).map_err(TracesFault::Client)?),
            None => client,
        };
        // It waits for a thread of its own when it is made.
        let client = block_in_place(|| client.build()).map_err(TracesFault::Client)?;
        Ok(SpanExporter::builder().with_http().with_http_client(client).build()?)
    }
}

/// Reads a file in PEM.
fn read(path: &Path) -> Result<Vec<u8>, TracesFault> {
    let text = fs::read(path).map_err(|error| TracesFault::Unreadable(path.to_owned(), error))?;
    let is_pem = text.windows(PEM.len()).any(|found| found == PEM);
    if is_pem { Ok(text) } else { Err(TracesFault::NotPem(path.to_owned())) }
}

/// How whatever is in PEM begins (RFC 7468 §2).
const PEM: &[u8] = b"-----BEGIN ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_for_traces_counts_more_and_what_has_no_scheme_is_encrypted() {
        let generic = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318");
        for (variables, grpc, encrypted) in [
            (&[][..], false, false),
            (&[generic], false, true),
            (&[generic, ("OTEL_EXPORTER_OTLP_PROTOCOL", "gRPC")], true, true),
            (&[generic, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "HTTP://collector:4318/v1/traces")], false, false),
            (&[generic, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")], false, true),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], true, true),
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:///run/collector"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                true,
                false,
            ),
        ] {
            let variable =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
            let collector = Collector::named(variable);
            assert_eq!((collector.grpc, collector.encrypted), (grpc, encrypted), "{variables:?}");
        }
    }
}
