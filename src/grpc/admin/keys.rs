//! Signing keys.

use tonic::{Request, Response, Status};

use super::v1::key_service_server::KeyService;
use super::v1::{
    self, DropKeyRequest, DropKeyResponse, ListKeysRequest, ListKeysResponse, RotateKeysRequest, RotateKeysResponse,
};
use super::{Act, Api, acted, caller, seconds, unavailable};
use crate::clock::Timestamp;
use crate::keys::{KeyState, KeysError, SecretStanding, SecretState, Withdrawal};
use crate::store::KeyRecord;

#[tonic::async_trait]
impl KeyService for Api {
    async fn list_keys(&self, _: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        let now = self.clock.now();
        let keys = self.keys.records().iter().map(|record| key(record, now)).collect();
        let secrets = self.keys.secrets_standing(now).iter().map(v1::Secret::from).collect();
        Ok(Response::new(ListKeysResponse { keys, secrets }))
    }

    async fn rotate_keys(&self, call: Request<RotateKeysRequest>) -> Result<Response<RotateKeysResponse>, Status> {
        let (by, at_once, now) = (caller(&call), call.into_inner().now, self.clock.now());
        let (name, made) = if at_once {
            ("rotate_keys_now", self.keys.rotate_now(now).await)
        } else {
            ("rotate_keys", self.keys.rotate(now).await)
        };
        let made = made.map_err(|error| unusable(name, &error))?;
        acted(name, &by, &Act { kid: Some(&made.kid), ..Act::default() });
        Ok(Response::new(RotateKeysResponse { key: Some(key(&made, now)) }))
    }

    async fn drop_key(&self, call: Request<DropKeyRequest>) -> Result<Response<DropKeyResponse>, Status> {
        let (by, now) = (caller(&call), self.clock.now());
        let kid = call.into_inner().kid;
        let dropped = self.keys.withdraw(&kid, now).await.map_err(|error| unusable("drop_key", &error))?;
        let dropped = match dropped {
            Withdrawal::Withdrawn(record) => record,
            Withdrawal::Unknown => return Err(Status::not_found("there is no key of that name in the key set")),
            Withdrawal::OnlySigner => {
                return Err(Status::failed_precondition("no other key signs now: rotate the keys first"));
            }
        };
        acted("drop_key", &by, &Act { kid: Some(&kid), ..Act::default() });
        Ok(Response::new(DropKeyResponse { key: Some(key(&dropped, now)) }))
    }
}

/// Whatever is in the way of the keys is for the log: the same call may be sent again when it is gone.
fn unusable(call: &'static str, error: &KeysError) -> Status {
    tracing::error!(call, %error, "the signing keys could not be changed");
    unavailable(call)
}

/// A key as it is told.
pub(super) fn key(record: &KeyRecord, now: Timestamp) -> v1::Key {
    let state = match record.state(now) {
        KeyState::Announced => v1::KeyState::Announced,
        KeyState::Signing => v1::KeyState::Signing,
        KeyState::Retired => v1::KeyState::Retired,
        KeyState::Dropped => v1::KeyState::Dropped,
    };
    v1::Key {
        kid: record.kid.clone(),
        alg: record.algorithm.name().to_owned(),
        state: state.into(),
        publish_time: seconds(record.published_at),
        sign_time: seconds(record.sign_from),
        retire_time: seconds(record.retire_at),
        drop_time: seconds(record.drop_at),
    }
}

impl From<&SecretStanding> for v1::Secret {
    fn from(secret: &SecretStanding) -> Self {
        let state = match secret.state {
            SecretState::Announced => v1::SecretState::Announced,
            SecretState::Making => v1::SecretState::Making,
            SecretState::Opening => v1::SecretState::Opening,
        };
        Self {
            generation: secret.generation,
            state: state.into(),
            draw_time: secret.drawn_at.map(seconds),
            make_time: seconds(secret.from),
            drop_time: seconds(secret.until),
        }
    }
}
