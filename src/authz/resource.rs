//! What the operator says about a protected resource, and about those who issue its tokens.

use std::sync::Arc;

use super::metadata::ResourceMetadata;
use super::policy::Rule;
use super::upstream::UpstreamView;
use crate::dpop::Window;
use crate::ident::{Audience, IssuerName};
use crate::token::{KeyLookup, Revocations, TokenLookup, TokenProfile};
use crate::uri::Origin;

/// Whether tokens must be bound to a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DpopRequirement {
    /// Only bound tokens are accepted, each with a proof.
    Required,
    /// Only bound tokens: to a key, with a proof; or to a certificate, from a connection with it (RFC 8705 §3).
    OrCertificate,
    /// Bound tokens with a proof, unbound ones as bearer tokens.
    Allowed,
    /// Only unbound bearer tokens; the DPoP scheme is not offered. A bound token is refused: RFC 9449 §7.2 forbids taking
    /// it as a bearer token.
    Off,
}

/// Whether what the rules say happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Enforcement {
    /// What they deny does not pass.
    Enforce,
    /// Everything passes, what they deny as well, but without identity headers; what they deny is counted and logged.
    Observe,
}

/// What becomes of the preflight requests of browsers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Preflight {
    /// They are judged by the rules, as any other request.
    Judge,
    /// They pass, if they are real ones for a request that some rule is about.
    Pass,
}

/// Where the certificate of a client is found that a token is bound to (RFC 8705 §3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CertificateSource {
    /// In what the proxy says of its own connection.
    Connection,
    /// In the header in which a proxy tells of it that ends TLS farther in front, and that has replaced what its callers sent.
    Header,
}

/// Whether proofs must hold a nonce of ours (RFC 9449 §9).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GateNonce {
    /// No: a nonce in a proof is ignored, but for the moments after a restart.
    Off,
    /// Yes, in each.
    Required,
}

/// One whose tokens count at a resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AcceptedIssuer {
    /// Who it is.
    pub name: IssuerName,
    /// One of these must be in `aud` of its tokens.
    pub audiences: Vec<Audience>,
}

/// One who issues tokens, as far as a gate must know.
#[derive(Clone)]
pub struct TokenIssuer {
    /// Who it is.
    pub name: IssuerName,
    /// What its tokens look like.
    pub profile: TokenProfile,
    /// What they are signed with.
    pub keys: Arc<dyn KeyLookup>,
    /// Which of them are over before their time, if somebody knows.
    pub revocations: Option<Arc<dyn Revocations>>,
    /// Which of them say nothing by themselves.
    pub opaque: OpaqueTokens,
}

/// Which tokens of an issuer say nothing by themselves, and who knows what they stand for.
#[derive(Clone)]
pub enum OpaqueTokens {
    /// None.
    None,
    /// Handles of ours. That one of them was revoked is known at once, so what it stands for is asked once.
    Handles(Arc<dyn TokenLookup>),
    /// Whatever is no JWT. Who is asked says how long the answer counts.
    Introspected(Arc<dyn TokenLookup>),
}

/// A protected resource.
#[derive(Clone, Debug)]
pub struct ResourceSettings {
    /// Its identifier, and what `aud` of a token must hold unless `issuers` says otherwise.
    pub audience: Audience,
    /// The origin that clients sign for in `htu`, and by whose host requests find this resource.
    pub origin: Origin,
    /// Who issues its tokens. Those of all others are refused.
    pub issuers: Vec<AcceptedIssuer>,
    /// Whether what the rules say happens.
    pub enforcement: Enforcement,
    /// Whether tokens must be bound.
    pub dpop: DpopRequirement,
    /// Where the certificates of clients are found.
    pub certificates: CertificateSource,
    /// Whether proofs must hold a nonce.
    pub nonce: GateNonce,
    /// The age at which a proof without a nonce is accepted; its skew holds for the times in tokens as well.
    pub window: Window,
    /// What the upstream gets to see.
    pub upstream: UpstreamView,
    /// Whose scripts may read what the gate itself answers.
    pub cors_origins: Vec<Origin>,
    /// What becomes of preflight requests.
    pub preflight: Preflight,
    /// Who may do what; what no rule matches is denied.
    pub rules: Vec<Rule>,
    /// What clients are told about it (RFC 9728); nothing, if the service behind it is to answer that.
    pub metadata: Option<ResourceMetadata>,
}
