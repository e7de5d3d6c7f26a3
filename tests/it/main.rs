//! The integration tests: everything through the doors.

mod architecture;
mod check;
mod gate;
mod vectors;
mod world;
