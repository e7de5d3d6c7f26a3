//! Tollgate: an OAuth 2.0 authorization server and an Envoy external-authorization service for DPoP-bound tokens.
//!
//! Two doors, one kernel. `web` and `grpc` turn bytes into values and values into bytes; `oauth` and `authz` hold the
//! rules and know no transport; `dpop`, `token` and `jose` are what both sides share; `app` alone knows everybody.

pub mod app;
pub mod cli;
pub mod config;
pub mod grpc;
pub mod telemetry;
pub mod web;

pub mod authz;
pub mod oauth;

pub mod identity;
pub mod inject;
pub mod issuers;
pub mod keys;

pub mod dpop;
pub mod fetch;
pub mod replay;
pub mod store;
pub mod token;

pub mod cache;
pub mod courier;

pub mod audit;
pub mod certificate;
pub mod clock;
pub mod current;
pub mod document;
pub mod entropy;
pub mod ident;
pub mod jose;
pub mod scope;
pub mod secret;
mod throttle;
pub mod unavailable;
pub mod uri;
