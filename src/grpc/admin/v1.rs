//! The messages and services of `proto/tollgate/admin/v1`, as they were compiled.
#![expect(
    missing_docs,
    clippy::pedantic,
    clippy::large_enum_variant,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the comments are in the .proto files"
)]

tonic::include_proto!("tollgate.admin.v1");

/// The descriptors of all files, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tollgate.admin.v1.bin"));
