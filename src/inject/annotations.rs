//! What a pod says about its sidecar: annotations under `tollgate.dev/`.

use json_patch::Patch;
use serde_json::Value;

/// What all of them begin with.
const PREFIX: &str = "tollgate.dev/";

/// Where the sidecar listens for Envoy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Listen {
    /// On a Unix socket in a shared volume.
    #[default]
    Socket,
    /// On a port of the pod's loopback address.
    Loopback,
    /// On both.
    Both,
}

impl Listen {
    /// Whether there is a socket.
    #[must_use]
    pub const fn has_socket(self) -> bool {
        matches!(self, Self::Socket | Self::Both)
    }

    /// Whether there is a port.
    #[must_use]
    pub const fn has_port(self) -> bool {
        matches!(self, Self::Loopback | Self::Both)
    }
}

/// What a pod wants of its sidecar.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wishes {
    /// `config`: the `ConfigMap` whose `tollgate.yaml` is the configuration.
    pub config: String,
    /// `secret`: the Secret whose keys are files in `/run/secrets/tollgate`.
    pub secret: String,
    /// `listen`.
    pub listen: Listen,
    /// `authz-port`: the port for Envoy.
    pub authz_port: u16,
    /// `admin-port`: the port of health.
    pub admin_port: u16,
    /// `envoy-container`: the container that asks.
    pub envoy: Option<String>,
    /// `image`: another image than that of the injector.
    pub image: Option<String>,
    /// `log-level`.
    pub log_level: Option<String>,
    /// `cpu-request`.
    pub cpu_request: String,
    /// `memory-request`.
    pub memory_request: String,
    /// `memory-limit`.
    pub memory_limit: String,
    /// `token-audience`: for whom the service-account token of the sidecar is.
    pub token_audience: Option<String>,
    /// `patch`: what else is to be different about the container.
    pub patch: Option<Patch>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            config: "tollgate".to_owned(),
            secret: "tollgate".to_owned(),
            listen: Listen::Socket,
            authz_port: 9191,
            admin_port: 15909,
            envoy: None,
            image: None,
            log_level: None,
            cpu_request: "10m".to_owned(),
            memory_request: "32Mi".to_owned(),
            memory_limit: "128Mi".to_owned(),
            token_audience: None,
            patch: None,
        }
    }
}

/// An annotation that cannot be followed. It is not ignored: it may have been meant to protect.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AnnotationFault {
    /// There is no such annotation.
    #[error("there is no annotation tollgate.dev/{0}; there are {known}", known = KNOWN.join(", "))]
    Unknown(String),
    /// Its value cannot be.
    #[error("the annotation tollgate.dev/{name} must be {must}")]
    Value {
        /// Which one.
        name: String,
        /// What it must be.
        must: &'static str,
    },
}

/// The annotations, without their prefix; `status` is ours.
const KNOWN: [&str; 14] = [
    "config",
    "secret",
    "listen",
    "authz-port",
    "admin-port",
    "envoy-container",
    "image",
    "log-level",
    "cpu-request",
    "memory-request",
    "memory-limit",
    "token-audience",
    "patch",
    "status",
];

impl Wishes {
    /// Reads the annotations of a pod.
    pub(super) fn read(annotations: Option<&Value>) -> Result<Self, AnnotationFault> {
        let mut wishes = Self::default();
        for (name, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
            if let Some(name) = name.strip_prefix(PREFIX) {
                wishes.take(name, value.as_str().unwrap_or_default())?;
            }
        }
        if wishes.authz_port == wishes.admin_port && wishes.listen.has_port() {
            let must = "another port than that of tollgate.dev/authz-port";
            return Err(AnnotationFault::Value { name: "admin-port".to_owned(), must });
        }
        Ok(wishes)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), AnnotationFault> {
        let fault = |must| AnnotationFault::Value { name: name.to_owned(), must };
        let object = || is_name(value).then(|| value.to_owned()).ok_or(fault("the name of an object, in lower case"));
        let port = || value.parse().ok().filter(|port| *port >= 1024).ok_or(fault("a port from 1024 to 65535"));
        let amount = || is_quantity(value).then(|| value.to_owned()).ok_or(fault("an amount such as 10m, 1 or 128Mi"));
        match name {
            "config" => self.config = object()?,
            "secret" => self.secret = object()?,
            "envoy-container" => self.envoy = Some(object()?),
            "listen" => {
                self.listen = match value {
                    "socket" => Listen::Socket,
                    "loopback" => Listen::Loopback,
                    "both" => Listen::Both,
                    _ => return Err(fault("socket, loopback or both")),
                }
            }
            "authz-port" => self.authz_port = port()?,
            "admin-port" => self.admin_port = port()?,
            "image" if is_image(value) => self.image = Some(value.to_owned()),
            "image" => return Err(fault("the name of an image")),
            "log-level" if is_filter(value) => self.log_level = Some(value.to_owned()),
            "log-level" => return Err(fault("error, warn, info, debug, or directives such as tollgate::web=debug")),
            "cpu-request" => self.cpu_request = amount()?,
            "memory-request" => self.memory_request = amount()?,
            "memory-limit" => self.memory_limit = amount()?,
            "token-audience" if is_audience(value) => self.token_audience = Some(value.to_owned()),
            "token-audience" => return Err(fault("the audience of a token, such as https://auth.example.com")),
            "patch" => self.patch = Some(patch(value).ok_or(fault(PATCH))?),
            "status" => {}
            _ => return Err(AnnotationFault::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

/// The longest patch, in bytes.
const PATCH_LIMIT: usize = 8 * 1024;

/// The most operations in it.
const OPERATIONS_LIMIT: usize = 32;

/// What a patch must be.
const PATCH: &str = "a JSON patch (RFC 6902) of the container, of at most 32 operations and 8 KiB";

fn patch(text: &str) -> Option<Patch> {
    let patch: Patch = (text.len() <= PATCH_LIMIT).then(|| serde_json::from_str(text).ok()).flatten()?;
    (1..=OPERATIONS_LIMIT).contains(&patch.0.len()).then_some(patch)
}

fn is_audience(text: &str) -> bool {
    (1..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// RFC 1123 subdomains, which names of Kubernetes objects are.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        edge(label.bytes().next()) && edge(label.bytes().last()) && label.bytes().all(inner)
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Digits, a point, and a suffix: what Kubernetes makes of it is its business.
fn is_quantity(text: &str) -> bool {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    unit.len() < text.len() && ["", "m", "k", "M", "G", "Ki", "Mi", "Gi"].contains(&unit)
}

fn is_image(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@".contains(&byte);
    (1..=512).contains(&text.len()) && text.bytes().all(plain)
}

fn is_filter(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_:=,".contains(&byte);
    (1..=256).contains(&text.len()) && text.bytes().all(plain)
}
