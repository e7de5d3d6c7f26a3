//! TLS of our own (RFC 8446, BCP 195), and the certificates that clients present to it (RFC 8705).
//!
//! Clients are asked for a certificate where one of them needs it, and any is taken: the handshake proves that they hold its
//! key, and whether it is the right one is a rule, judged where clients are authenticated (RFC 8705 §2).

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, DigitallySignedStruct, DistinguishedName, InvalidMessage, ServerConfig, SignatureScheme, version,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::certificate::{CERTIFICATE_LIMIT, ClientCertificate};

/// The largest file with certificates or a key, in bytes.
const FILE_LIMIT: u64 = 256 * 1024;

/// Where the server's own certificate and its key are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFiles {
    /// The certificate and those that lead from it to an authority, in PEM.
    pub certificate: PathBuf,
    /// The private key of the certificate, in PEM.
    pub private_key: PathBuf,
}

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// A file cannot be read.
    #[error("{} cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// The first file holds no certificate.
    #[error("{} holds no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    /// The second file holds no private key.
    #[error("{} holds no private key in PEM", .0.display())]
    NoKey(PathBuf),
    /// They do not belong together.
    #[error("the private key is not that of the certificate, or of a kind that is not supported")]
    Mismatch,
}

impl TlsFault {
    /// Whether the file with the certificate is at fault, and not that with the key.
    pub fn is_about_the_certificate(&self, files: &TlsFiles) -> bool {
        match self {
            Self::NoCertificate(_) => true,
            Self::Unreadable { path, .. } => *path == files.certificate,
            Self::NoKey(_) | Self::Mismatch => false,
        }
    }
}

impl TlsFiles {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsFault`].
    pub fn read(&self) -> Result<Identity, TlsFault> {
        let (certificates, key) = (read(&self.certificate)?, read(&self.private_key)?);
        let no_certificate = || TlsFault::NoCertificate(self.certificate.clone());
        let chain = CertificateDer::pem_slice_iter(&certificates).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(no_certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| TlsFault::NoKey(self.private_key.clone()))?;
        let key = CertifiedKey::from_der(chain, key, ServerConfig::builder().crypto_provider());
        key.map(|key| Identity(Arc::new(key))).map_err(|_| TlsFault::Mismatch)
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsFault> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| file.take(FILE_LIMIT).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|cause| TlsFault::Unreadable { path: path.to_owned(), cause })
}

/// What the server shows to clients: a certificate, and the key that belongs to it.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// Encrypts a door. Clones share the certificate that is shown.
#[derive(Clone)]
pub struct Tls {
    acceptor: Arc<RwLock<TlsAcceptor>>,
    files: TlsFiles,
    shown: Arc<Shown>,
}

/// What a door will show, and whether it asks for certificates.
pub struct Prepared {
    identity: Identity,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads certificate and key. `asks` says whether clients are asked for certificates.
    ///
    /// TLS 1.2 with the four suites that FAPI 2.0 §5.2.1 takes from BCP 195, and TLS 1.3.
    ///
    /// # Errors
    /// [`TlsFault`].
    pub fn new(files: TlsFiles, asks: bool) -> Result<Self, TlsFault> {
        let shown = Arc::new(Shown(RwLock::new(files.read()?)));
        let acceptor = Arc::new(RwLock::new(acceptor(&shown, asks)?));
        Ok(Self { acceptor, files, shown })
    }

    /// Reads the files again, for [`Tls::show`]. `asks` says whether clients are asked for certificates.
    ///
    /// # Errors
    /// [`TlsFault`].
    pub fn prepare(&self, asks: bool) -> Result<Prepared, TlsFault> {
        Ok(Prepared { identity: self.files.read()?, acceptor: acceptor(&self.shown, asks)? })
    }

    /// Shows what was prepared, from the next connection on.
    pub fn show(&self, Prepared { identity, acceptor }: Prepared) {
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = identity;
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
    }

    /// Reads the files again, and shows what is in them from the next connection on: certificates are renewed while we run.
    /// Tells whether that is another certificate.
    ///
    /// # Errors
    /// [`TlsFault`]; the old certificate stays.
    pub fn reload(&self) -> Result<bool, TlsFault> {
        let Identity(fresh) = self.files.read()?;
        let mut shown = self.shown.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = shown.0.cert != fresh.cert;
        *shown = Identity(fresh);
        Ok(changed)
    }

    /// Shakes hands.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
        acceptor.accept(stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({:?})", self.files)
    }
}

/// The certificate that the client of a connection has presented.
pub(crate) fn presented(stream: &TlsStream<TcpStream>) -> Option<ClientCertificate> {
    let (_, session) = stream.get_ref();
    session.peer_certificates().and_then(|chain| ClientCertificate::presented(chain).ok())
}

/// Shakes hands with the certificate that is shown.
fn acceptor(shown: &Arc<Shown>, asks: bool) -> Result<TlsAcceptor, TlsFault> {
    let provider = Arc::new(restricted(ServerConfig::builder().crypto_provider()));
    let algorithms = provider.signature_verification_algorithms;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|_| TlsFault::Mismatch)?;
    let builder = if asks {
        builder.with_client_cert_verifier(Arc::new(AnyCertificate(algorithms)))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_cert_resolver(Arc::clone(shown) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

/// All of TLS 1.3; of TLS 1.2 what FAPI 2.0 §5.2.1 leaves.
fn restricted(provider: &CryptoProvider) -> CryptoProvider {
    const TLS12: [CipherSuite; 4] = [
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ];
    let mut restricted = provider.clone();
    restricted.cipher_suites.retain(|suite| suite.tls13().is_some() || TLS12.contains(&suite.suite()));
    restricted
}

/// What is shown now.
struct Shown(RwLock<Identity>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&shown.0))
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(..)")
    }
}

/// Takes any certificate whose key signs the handshake, and none as well: that is all that RFC 8705 §2.2 and §3 ask of a
/// connection. Who is trusted is judged later, per client.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if own.len() > CERTIFICATE_LIMIT {
            return Err(InvalidMessage::CertificatePayloadTooLarge.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, own, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, own, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
