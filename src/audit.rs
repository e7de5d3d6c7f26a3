//! The events that auditors read: who was given what, who was refused, and what ended.
//!
//! They are lines of the log like any other, with a target and names of their own that stay as they are: rules about them
//! outlive our versions. `docs/events.md` lists them with their fields, and a test compares it with what is said.
//!
//! Invariant: no event holds what opens a door.

/// The target of these events.
pub const TARGET: &str = "tollgate::audit";

/// Declares the names, and [`ALL`] of them.
macro_rules! events {
    ($($(#[$doc:meta])+ $constant:ident $name:literal;)+) => {
        $($(#[$doc])+ pub const $constant: &str = $name;)+

        /// Every name.
        pub const ALL: &[&str] = &[$($name),+];
    };
}

events! {
    /// A client got tokens.
    TOKEN_ISSUED "token.issued";
    /// A client got none.
    TOKEN_REFUSED "token.refused";
    /// A client has revoked one access token.
    TOKEN_REVOKED "token.revoked";
    /// A client, or an address, has asked too often.
    CLIENT_THROTTLED "client.throttled";
    /// A grant has ended, and with it every token of it.
    GRANT_ENDED "grant.ended";
    /// A client has presented, or tried to revoke, a token or a code of another client.
    CREDENTIAL_FOREIGN "credential.foreign";
    /// A revocation was refused.
    REVOCATION_REFUSED "revocation.refused";
    /// An introspection was refused.
    INTROSPECTION_REFUSED "introspection.refused";
    /// A UserInfo request was refused.
    USERINFO_REFUSED "userinfo.refused";
    /// A client has pushed an authorization request.
    REQUEST_PUSHED "request.pushed";
    /// A pushed authorization request was refused.
    REQUEST_REFUSED "request.refused";
    /// A client got an authorization code.
    AUTHORIZATION_GRANTED "authorization.granted";
    /// An authorization request, or a form on the way to its answer, was refused.
    AUTHORIZATION_REFUSED "authorization.refused";
    /// A device began to wait for a person.
    DEVICE_BEGUN "device.begun";
    /// A device did not.
    DEVICE_REFUSED "device.refused";
    /// A person has let a device in.
    DEVICE_APPROVED "device.approved";
    /// A person has turned a device away.
    DEVICE_DECLINED "device.declined";
    /// A person has typed too many user codes of no device.
    USER_CODE_THROTTLED "user_code.throttled";
    /// A person has signed in.
    SESSION_OPENED "session.opened";
    /// A session has ended: its person has signed out, or somebody else has signed in.
    SESSION_ENDED "session.ended";
    /// A client was told that a session is over.
    LOGOUT_DELIVERED "logout.delivered";
    /// A client could not be told.
    LOGOUT_UNDELIVERED "logout.undelivered";
    /// An external login, or whoever else may call the admin API, was answered.
    ADMIN_CALLED "admin.called";
    /// Somebody who looks after the installation has changed something through the admin API.
    ADMIN_ACTED "admin.acted";
    /// Somebody did not get signed in.
    SIGN_IN_REFUSED "sign_in.refused";
    /// A client has registered itself.
    CLIENT_REGISTERED "client.registered";
    /// A client has changed what it has registered.
    CLIENT_UPDATED "client.updated";
    /// A client is no more, and neither is anything that it was granted.
    CLIENT_DELETED "client.deleted";
    /// A registration, or a request about one, was refused.
    REGISTRATION_REFUSED "registration.refused";
    /// A signing key is known here from now on: it was made, found at the start, or another process has added it.
    KEY_LEARNED "key.learned";
    /// A signing key was withdrawn: what it signed is refused.
    KEY_WITHDRAWN "key.withdrawn";
}
