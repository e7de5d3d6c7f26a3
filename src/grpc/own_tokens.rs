//! Handles that the authorization server of this process, or one that shares its store, has issued.

use std::sync::Arc;

use async_trait::async_trait;

use crate::authz::{TokenLookup, Unresolved};
use crate::clock::Timestamp;
use crate::jose::Members;
use crate::store::Store;
use crate::token::Form;
use crate::unavailable::Unavailable;

/// Looks handles up where they were recorded.
pub struct OwnTokens(pub Arc<dyn Store>);

#[async_trait]
impl TokenLookup for OwnTokens {
    async fn look_up(&self, unresolved: &Unresolved, _: Timestamp) -> Result<Option<Members>, Unavailable> {
        let Ok(Form::Handle(handle)) = Form::of(unresolved.token()) else { return Ok(None) };
        Ok(self.0.access_token(handle).await?.and_then(|record| record.members()))
    }
}
