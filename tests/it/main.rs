//! One binary for all integration tests.
#![expect(unreachable_pub, reason = "a test binary has no callers")]

mod authorize;
mod browser;
mod client;
mod world;
