//! Access tokens that are handles, looked up where they were recorded.

use std::sync::Arc;

use async_trait::async_trait;

use super::Store;
use crate::clock::Timestamp;
use crate::jose::Members;
use crate::token::{Form, TokenLookup};
use crate::unavailable::Unavailable;

/// Handles that the authorization server of this process, or one that shares its store, has issued.
pub struct RecordedTokens(pub Arc<dyn Store>);

#[async_trait]
impl TokenLookup for RecordedTokens {
    async fn look_up(&self, token: &str, _: Timestamp) -> Result<Option<Members>, Unavailable> {
        let Ok(Form::Handle(handle)) = Form::of(token) else { return Ok(None) };
        Ok(self.0.access_token(handle).await?.and_then(|record| record.members()))
    }
}
