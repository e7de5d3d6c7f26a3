//! Telling clients that a session is over (OpenID Connect Back-Channel Logout 1.0): those with a `backchannel_logout_uri` at
//! which the session has signed its person in.
//!
//! | what ends | whom it tells, and of what |
//! |---|---|
//! | a session: its person signs out, takes another account, or another person signs in | its clients, of `sub` and `sid` |
//! | all sessions of a person, at `/account` | their clients, of `sub` and `sid` |
//! | a person, whom an external login has stopped | the clients of their grants, of `sub` |
//!
//! A session whose time is over has not been ended by anybody, and tells nobody.
//!
//! Invariant: who signs out waits for no client. Each client of a session is told once, and the token says nothing that an ID
//! token would not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::BackchannelLogout;
use super::{AuthorizationServer, Client};
use crate::clock::Timestamp;
use crate::ident::{ClientId, Subject};
use crate::jose::SigningKey;
use crate::secret::base64url;
use crate::store::{SessionClient, SessionId, Unavailable};

/// The `typ` of a logout token (§2.4); no other token has it.
const LOGOUT_TOKEN_TYPE: &str = "logout+jwt";

/// The member of `events` that makes it one (§2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// How long a logout token is good: §2.4 recommends two minutes at most.
const LIFETIME: Duration = Duration::from_mins(2);

/// How many clients are told in one step.
const AT_ONCE: u32 = 1_000;

/// A logout token, and where it goes.
pub struct LogoutNotice {
    /// The client.
    pub client_id: ClientId,
    /// Its `backchannel_logout_uri`.
    pub to: BackchannelLogout,
    /// The token.
    pub token: String,
}

/// Who takes logout tokens to clients.
pub trait LogoutNotices: Send + Sync {
    /// Takes one on its way, and waits for nobody.
    fn send(&self, notice: LogoutNotice);
}

/// What a logout token says (§2.4).
struct Over<'a> {
    client: &'a Client,
    subject: &'a Subject,
    session: Option<SessionId>,
}

impl AuthorizationServer {
    /// Tells the clients of a session that it is over.
    pub(super) async fn tell_clients_of(&self, session: SessionId, now: Timestamp) -> Result<(), Unavailable> {
        loop {
            let left = self.store.leave_session(session, now, AT_ONCE).await?;
            self.tell_each(&left, now)?;
            if left.len() < AT_ONCE as usize {
                return Ok(());
            }
        }
    }

    /// Tells the clients of all sessions of a person.
    pub(super) async fn tell_clients_of_person(&self, subject: &Subject, now: Timestamp) -> Result<(), Unavailable> {
        loop {
            let left = self.store.leave_sessions_of(subject, now, AT_ONCE).await?;
            self.tell_each(&left, now)?;
            if left.len() < AT_ONCE as usize {
                return Ok(());
            }
        }
    }

    /// Tells the clients of a person's grants that they have no session any more, wherever it was.
    pub(super) async fn tell_clients_of_grants(&self, subject: &Subject, now: Timestamp) -> Result<(), Unavailable> {
        let grants = self.store.grants_of(subject, now, AT_ONCE).await?;
        let clients: HashMap<_, _> = grants.iter().map(|grant| (grant.client_id.as_str(), grant)).collect();
        let signer = self.keys.signer(now)?;
        // Only clients that an operator has written down may be told.
        for client in clients.into_keys().filter_map(|id| self.clients.get(id)) {
            self.notify(&Over { client, subject, session: None }, &signer, now);
        }
        Ok(())
    }

    fn tell_each(&self, left: &[SessionClient], now: Timestamp) -> Result<(), Unavailable> {
        if left.is_empty() {
            return Ok(());
        }
        let signer = self.keys.signer(now)?;
        for SessionClient { client_id, subject, session, .. } in left {
            if let Some(client) = self.clients.get(client_id) {
                self.notify(&Over { client, subject, session: Some(*session) }, &signer, now);
            }
        }
        Ok(())
    }

    fn notify(&self, over: &Over<'_>, signer: &Arc<SigningKey>, now: Timestamp) {
        let Some(to) = &over.client.openid.backchannel_logout else { return };
        if to.session_required && over.session.is_none() {
            return; // it would not know what to do
        }
        let token = signer.sign(LOGOUT_TOKEN_TYPE, &self.logout_token(over, now));
        self.notices.send(LogoutNotice { client_id: over.client.id.clone(), to: to.clone(), token });
    }

    fn logout_token(&self, over: &Over<'_>, now: Timestamp) -> Value {
        let Over { client, subject, session } = over;
        let mut token = json!({
            "iss": self.settings.issuer.as_str(),
            "sub": self.subject_at(client, subject).as_str(),
            "aud": client.id.as_str(),
            "iat": now.seconds(),
            "exp": (now + LIFETIME).seconds(),
            "jti": base64url(&self.entropy.draw::<16>()),
            "events": { EVENT: {} },
        });
        if let Some(session) = session {
            token["sid"] = self.session_at(&client.id, *session).into();
        }
        token
    }
}
