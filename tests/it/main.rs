//! The integration tests: everything through the doors.

mod architecture;
mod check;
mod envoy;
mod envoy_proxy;
mod gate;
mod upstream;
mod vectors;
mod world;
