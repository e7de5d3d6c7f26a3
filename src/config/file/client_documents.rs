//! What the file may say about documents that clients keep elsewhere.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::duration::Lifetime;
use super::super::given::Given;

/// How documents of clients are fetched: `jwks_uri`. Over https only, or http on loopback; without redirects; up to 64 KiB.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ClientDocumentsFile {
    /// Whether they may be at addresses that are not of the public Internet. A `jwks_uri` in this file that names loopback
    /// may be there in any case.
    #[schemars(extend("default" = "refuse"))]
    pub(in crate::config) private_addresses: Option<Given<PrivateAddresses>>,
    /// How long one fetch may take. At most 30 seconds.
    #[schemars(extend("default" = "5s"))]
    pub(in crate::config) timeout: Option<Given<Lifetime>>,
}

/// What is done with a host whose addresses are private (RFC 6890).
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum PrivateAddresses {
    /// It is not asked.
    Refuse,
    /// It is asked, for clients in your own network. Whoever can put a URL before this server can then have it ask there.
    Allow,
}
