//! Access tokens that are handles, looked up where they were recorded.

use std::sync::Arc;

use async_trait::async_trait;

use super::Store;
use crate::clock::Timestamp;
use crate::jose::Thumbprint;
use crate::token::{Form, Said, TokenLookup};
use crate::unavailable::Unavailable;

/// Handles that the authorization server of this process, or one that shares its store, has issued.
pub struct RecordedTokens(pub Arc<dyn Store>);

#[async_trait]
impl TokenLookup for RecordedTokens {
    async fn look_up(&self, token: &str, _: Option<Thumbprint>, _: Timestamp) -> Result<Option<Said>, Unavailable> {
        let Ok(Form::Handle(handle)) = Form::of(token) else { return Ok(None) };
        let claims = self.0.access_token(handle).await?.and_then(|record| record.members());
        Ok(claims.map(|claims| Said { claims, until: None })) // that one has ended is known without asking again
    }
}
