//! What runs, and with which configuration.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::v1::status_service_server::StatusService;
use super::v1::{GetStatusRequest, GetStatusResponse};
use super::{Api, keys, seconds};
use crate::clock::{Clock, Timestamp};
use crate::keys::KeyState;

/// What is known of a process from its start on.
pub struct Standing {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// When it began.
    pub began: Timestamp,
    /// Where state is kept, as the configuration calls it.
    pub store: &'static str,
    /// How people sign in, as the configuration calls it; `None` if nobody does.
    pub login: Option<&'static str>,
    /// The resources that its gate protects.
    pub protected_resources: Vec<String>,
}

#[tonic::async_trait]
impl StatusService for Api {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let now = self.clock.now();
        let settings = self.server.settings();
        let signing = self.keys.records().into_iter().rev().find(|record| record.state(now) == KeyState::Signing);
        Ok(Response::new(GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            start_time: seconds(self.standing.began),
            issuer: settings.issuer.to_string(),
            store: self.standing.store.to_owned(),
            store_answers: self.server.store_answers().await,
            login: self.standing.login.unwrap_or_default().to_owned(),
            configured_clients: self.server.configured_clients() as u64,
            resources: settings.resources.iter().map(ToString::to_string).collect(),
            protected_resources: self.standing.protected_resources.clone(),
            signing_key: signing.map(|record| keys::key(&record, now)),
        }))
    }
}
