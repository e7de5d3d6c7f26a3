//! Tests through the doors: one binary, real sockets on free ports, nothing shared.
#![expect(unreachable_pub, reason = "a test binary has no callers")]

mod architecture;
mod authorize;
mod browser;
mod check;
mod cli;
mod client;
mod concurrency;
mod config;
mod docs;
mod envoy;
mod envoy_proxy;
mod gate;
mod interleaving;
mod keys;
mod replay;
mod sidecar;
mod store;
mod tap;
mod token_endpoint;
mod upstream;
mod vectors;
mod world;
