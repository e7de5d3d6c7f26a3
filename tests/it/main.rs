//! Everything that is tested through a door, in one binary.

mod keys;
mod replay;
mod store;
