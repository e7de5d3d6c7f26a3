//! The HTTP doors: bytes into values, values into bytes.
//!
//! Invariant: no rule is decided here. `respond` alone builds responses, so headers and statuses have one place; limits
//! are judged before anything is decoded.

mod account;
mod activate;
mod admin;
mod authorize;
mod branding;
mod consent;
mod cookie;
mod device_authorization;
mod door;
mod forwarded;
mod injector;
mod introspect;
mod login;
mod logout;
mod metadata;
mod openapi;
mod pages;
mod par;
mod register;
mod request;
pub(crate) mod respond;
mod revoke;
mod router;
mod stall;
mod status;
mod tls;
mod token;
mod traced;
mod userinfo;

pub use admin::AdminSite;
pub use branding::{Branding, Colour, ColourFault, Logo, LogoFault};
pub use door::{Door, Limits};
pub use forwarded::Proxies;
pub use injector::InjectorSite;
pub use openapi::openapi;
pub use request::{Received, Refused, Wanted};
pub use router::AuthorizationSite;
pub(crate) use tls::presented;
pub use tls::{Identity, Prepared, Tls, TlsFault, TlsFiles};
pub use traced::TracedSite;

use std::sync::Arc;

use async_trait::async_trait;

use crate::current::Current;

pub use respond::Response;

/// What answers behind a door.
#[async_trait]
pub trait Site: Send + Sync + 'static {
    /// Answers one request whose head and body were read whole, within limits.
    async fn answer(&self, request: Received) -> Response;

    /// Answers a request for a path that broke a limit before it could be read.
    fn refuse(&self, path: &str, refused: Refused) -> Response {
        let _ = path;
        respond::refused(refused)
    }

    /// What the endpoint at a path is called, for those who read traces. A path may hold what only its sender should know.
    fn route(&self, path: &str) -> Option<&'static str> {
        let _ = path;
        None
    }
}

/// A site that may be replaced while it is served: a request is answered by the one that was there when it came.
pub struct Switched(Current<dyn Site>);

impl Switched {
    /// The site that answers first.
    #[must_use]
    pub fn new(first: Arc<dyn Site>) -> Self {
        Self(Current::new(first))
    }

    /// Has `next` answer from the next request on.
    pub fn replace(&self, next: Arc<dyn Site>) {
        self.0.replace(next);
    }
}

#[async_trait]
impl Site for Switched {
    async fn answer(&self, request: Received) -> Response {
        let site = self.0.get();
        site.answer(request).await
    }

    fn refuse(&self, path: &str, refused: Refused) -> Response {
        self.0.get().refuse(path, refused)
    }

    fn route(&self, path: &str) -> Option<&'static str> {
        self.0.get().route(path)
    }
}
