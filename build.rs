//! Compiles the messages of our own API, without `protoc`, and says where the image of this version is.

use std::path::PathBuf;
use std::{env, error, fs};

use prost::Message as _;

const FILES: [&str; 9] = [
    "tollgate/admin/v1/audit.proto",
    "tollgate/admin/v1/authorization.proto",
    "tollgate/admin/v1/client.proto",
    "tollgate/admin/v1/device.proto",
    "tollgate/admin/v1/grant.proto",
    "tollgate/admin/v1/key.proto",
    "tollgate/admin/v1/person.proto",
    "tollgate/admin/v1/session.proto",
    "tollgate/admin/v1/status.proto",
];

/// Where the image is, unless whoever builds it says so.
const IMAGE_REPOSITORY: &str = "ghcr.io/example/tollgate";

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo::rerun-if-env-changed=TOLLGATE_IMAGE_REPOSITORY");
    let repository = env::var_os("TOLLGATE_IMAGE_REPOSITORY").filter(|name| !name.is_empty());
    let repository = repository.unwrap_or(IMAGE_REPOSITORY.into());
    println!("cargo::rustc-env=TOLLGATE_IMAGE_REPOSITORY={}", repository.display());
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("tollgate.admin.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_client(true).compile_fds(descriptors)?;
    Ok(())
}
