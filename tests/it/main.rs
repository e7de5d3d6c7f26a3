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
mod crash;
mod device;
mod docs;
mod door;
mod envoy;
mod envoy_proxy;
mod gate;
mod hygiene;
mod input;
mod interleaving;
mod interop;
mod keys;
mod mutual_tls;
mod openid;
mod outage;
mod process;
mod proxy;
mod replay;
mod restart;
mod shutdown;
mod sidecar;
mod store;
mod tap;
mod token_endpoint;
mod upstream;
mod vectors;
mod world;
