//! What runs, and with which configuration.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::v1::status_service_server::StatusService;
use super::v1::{GetStatusRequest, GetStatusResponse};
use super::{Api, keys, seconds};
use crate::clock::{Clock, Timestamp};
use crate::keys::KeyState;
use crate::telemetry::{Facts, Feed, Standing};

/// What is known of a process from its start on.
pub struct Installation {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// When it began.
    pub began: Timestamp,
    /// Where state is kept, as the configuration calls it.
    pub store: &'static str,
    /// Which configuration is in force.
    pub standing: Arc<Standing>,
    /// Where the events for auditors are heard.
    pub feed: Feed,
}

#[tonic::async_trait]
impl StatusService for Api {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let (now, server) = (self.clock.now(), self.server.get());
        let signing = self.keys.records().into_iter().rev().find(|record| record.state(now) == KeyState::Signing);
        let Facts { digest, since, refused } = self.installation.standing.facts();
        let (refused_at, reason) = refused.unzip();
        Ok(Response::new(GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            start_time: seconds(self.installation.began),
            issuer: server.settings().issuer.to_string(),
            store: self.installation.store.to_owned(),
            store_answers: server.store_answers().await,
            login: server.login_name().unwrap_or_default().to_owned(),
            configured_clients: server.configured_clients() as u64,
            resources: server.settings().resources.iter().map(ToString::to_string).collect(),
            configuration_digest: digest,
            configuration_time: seconds(since),
            refused_configuration_time: refused_at.map(seconds),
            refused_configuration_reason: reason.unwrap_or_default(),
            signing_key: signing.map(|record| keys::key(&record, now)),
        }))
    }
}
