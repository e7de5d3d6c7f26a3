//! Connections to an installation that asks for a certificate.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use miette::Diagnostic;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Error, Uri};

use super::AddressFault;

/// `https://host:port`.
#[derive(Clone, Debug)]
pub(in crate::cli) struct HttpsAddress {
    host: String,
    port: u16,
}

impl FromStr for HttpsAddress {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        let uri: Uri = text.parse().map_err(|_| AddressFault)?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https") && uri.path() == "/").ok_or(AddressFault)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(443) })
    }
}

impl fmt::Display for HttpsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "https://{open}{}{close}:{}", self.host, self.port)
    }
}

/// Why there is nothing to connect with.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(in crate::cli) enum MutualFault {
    /// A file cannot be used.
    #[error("{} holds no {what} in PEM that can be used", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The key is not that of the certificate.
    #[error("the private key is not that of the certificate, or of a kind that is not supported")]
    Mismatch,
    /// No certificate can be for such a host.
    #[error("`{0}` is no name of a host")]
    Host(String),
}

/// What is shown to an installation, and who vouches for it.
pub(super) struct Mutual {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) authorities: PathBuf,
}

impl Mutual {
    /// Begins to connect.
    ///
    /// # Errors
    /// [`MutualFault`] if there is nothing to connect with.
    pub(super) fn connect(
        &self,
        address: &HttpsAddress,
    ) -> Result<impl Future<Output = Result<Channel, Error>> + use<>, MutualFault> {
        let tls = TlsConnector::from(Arc::new(self.config()?));
        let name = ServerName::try_from(address.host.clone()).map_err(|_| MutualFault::Host(address.host.clone()))?;
        let to = (address.host.clone(), address.port);
        let connector = tower::service_fn(move |_: Uri| {
            let (tls, name, to) = (tls.clone(), name.clone(), to.clone());
            async move {
                let stream = TcpStream::connect((to.0.as_str(), to.1)).await?;
                tls.connect(name, stream).await.map(TokioIo::new)
            }
        });
        // The connector encrypts: tonic itself must not try to.
        Ok(async move { Endpoint::from_static("http://admin").connect_with_connector(connector).await })
    }

    fn config(&self) -> Result<ClientConfig, MutualFault> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.authorities)? {
            let unusable = |_| unusable(&self.authorities, "certificate of an authority");
            roots.add(root).map_err(unusable)?;
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|_| unusable(&self.key, "private key"))?;
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = config.with_client_auth_cert(certificates(&self.certificate)?, key);
        let mut config = config.map_err(|_| MutualFault::Mismatch)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, MutualFault> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    certificates.ok().filter(|found| !found.is_empty()).ok_or_else(|| unusable(file, "certificate"))
}

fn unusable(file: &Path, what: &'static str) -> MutualFault {
    MutualFault::Unusable { file: file.to_owned(), what }
}
