//! What the operator says about a protected resource.

use super::metadata::ResourceMetadata;
use super::policy::Rule;
use super::upstream::UpstreamView;
use crate::dpop::Window;
use crate::ident::{Audience, Issuer};
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

/// Whether proofs must hold a nonce of ours (RFC 9449 §9).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GateNonce {
    /// No: a nonce in a proof is ignored, but for the moments after a restart.
    Off,
    /// Yes, in each.
    Required,
}

/// A protected resource.
#[derive(Clone, Debug)]
pub struct ResourceSettings {
    /// What must be in `aud` of a token.
    pub audience: Audience,
    /// The origin that clients sign for in `htu`, and by whose host requests find this resource.
    pub origin: Origin,
    /// Who issues its tokens.
    pub issuer: Issuer,
    /// Whether tokens must be bound.
    pub dpop: DpopRequirement,
    /// Whether proofs must hold a nonce.
    pub nonce: GateNonce,
    /// The age at which a proof without a nonce is accepted; its skew holds for the times in tokens as well.
    pub window: Window,
    /// What the upstream gets to see.
    pub upstream: UpstreamView,
    /// Who may do what; what no rule matches is denied.
    pub rules: Vec<Rule>,
    /// What clients are told about it (RFC 9728); nothing, if the service behind it is to answer that.
    pub metadata: Option<ResourceMetadata>,
}
