//! What is to be known about a database before anybody connects to it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// How long nothing may be heard of a server that has something to answer before its connection is given up.
const SILENCE: Duration = Duration::from_secs(10);

/// How a PostgreSQL store is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresSettings {
    /// Where it is, and as whom to sign in.
    pub url: PostgresUrl,
    /// The certificates of the authorities that may vouch for it, in PEM; those of the system if there are none.
    pub authorities: Option<PathBuf>,
    /// How many connections there are at most.
    pub connections: usize,
    /// How long a call waits for a connection, and for a new one to be made.
    pub connect_within: Duration,
    /// How long a statement may take.
    pub answer_within: Duration,
    /// How long ago a gate in this process may have read last what others have ended and revoked, and still decide.
    pub revocations_stale: Duration,
}

impl PostgresSettings {
    /// So many connections, unless it is said otherwise.
    pub const CONNECTIONS: usize = 16;

    /// So long a connection is waited for, unless it is said otherwise.
    pub const CONNECT_WITHIN: Duration = Duration::from_secs(3);

    /// So long a statement may take, unless it is said otherwise.
    pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

    /// So old may be what is known of revocations, unless it is said otherwise.
    pub const REVOCATIONS_STALE: Duration = Duration::from_mins(1);
}

/// The connection URL of a database: `postgresql://user:password@host:port,host:port/database?…`, or the `key=value` form.
#[derive(Clone, PartialEq)]
pub struct PostgresUrl(Arc<tokio_postgres::Config>);

/// What a connection URL gets wrong. It may hold a password, so nothing of it is quoted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PostgresUrlFault {
    /// It is none.
    #[error("is not a PostgreSQL connection URL such as `postgresql://tollgate:password@db.example/tollgate`")]
    Malformed,
    /// It names no host, no user or no database.
    #[error("names no host, no user or no database")]
    Incomplete,
    /// It wants a server that takes no writes.
    #[error("asks for a server that only reads (`target_session_attrs`)")]
    ReadOnly,
    /// It lets an attacker on the way talk both sides out of TLS.
    #[error("has `sslmode=prefer`: take `require`, which also checks certificate and name, or `disable`")]
    Opportunistic,
}

impl FromStr for PostgresUrl {
    type Err = PostgresUrlFault;

    fn from_str(text: &str) -> Result<Self, PostgresUrlFault> {
        if text.contains("sslmode=prefer") {
            return Err(PostgresUrlFault::Opportunistic);
        }
        let mut url: tokio_postgres::Config = text.parse().map_err(|_| PostgresUrlFault::Malformed)?;
        let nowhere = url.get_hosts().is_empty() && url.get_hostaddrs().is_empty();
        if nowhere || url.get_user().is_none() || url.get_dbname().is_none() {
            return Err(PostgresUrlFault::Incomplete);
        }
        if url.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
            return Err(PostgresUrlFault::ReadOnly);
        }
        url.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if url.get_ssl_mode() == SslMode::Prefer {
            url.ssl_mode(if is_near(&url) { SslMode::Disable } else { SslMode::Require }); // it did not say
        }
        if url.get_application_name().is_none() {
            url.application_name("tollgate");
        }
        if url.get_tcp_user_timeout().is_none() {
            url.tcp_user_timeout(SILENCE);
        }
        url.keepalives_idle(url.get_keepalives_idle().min(SILENCE));
        Ok(Self(Arc::new(url)))
    }
}

impl PostgresUrl {
    /// For the driver.
    pub(super) fn config(&self) -> &tokio_postgres::Config {
        &self.0
    }
}

/// Where it is; nothing else.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.0.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let addresses = self.0.get_hostaddrs().iter().map(ToString::to_string);
        let hosts: Vec<_> = if self.0.get_hosts().is_empty() { addresses.collect() } else { hosts.collect() };
        write!(f, "{} on {}", self.0.get_dbname().unwrap_or_default(), hosts.join(", "))
    }
}

/// The same: the rest is secret.
impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

/// Whether nobody but this machine carries what is said.
fn is_near(url: &tokio_postgres::Config) -> bool {
    let host_is_near = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
    };
    url.get_hosts().iter().all(host_is_near) && url.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<PostgresUrl, PostgresUrlFault> {
        text.parse()
    }

    #[test]
    fn what_is_no_url_of_a_database_is_refused() {
        for (text, fault) in [
            ("", PostgresUrlFault::Incomplete),
            ("mysql://a@b/c", PostgresUrlFault::Malformed),
            ("postgresql://a:b@c/d?shoe_size=38", PostgresUrlFault::Malformed),
            ("postgresql:///tollgate", PostgresUrlFault::Incomplete),
            ("postgresql://db/tollgate", PostgresUrlFault::Incomplete),
            ("postgresql://a@db", PostgresUrlFault::Incomplete),
            ("postgresql://a@db/c?target_session_attrs=read-only", PostgresUrlFault::ReadOnly),
            ("postgresql://a@db/c?sslmode=prefer", PostgresUrlFault::Opportunistic),
        ] {
            assert_eq!(url(text).map(|_| ()), Err(fault), "{text}");
        }
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_unless_it_is_said_otherwise() {
        for (text, mode) in [
            ("postgresql://a@db.example/c", SslMode::Require),
            ("postgresql://a@127.0.0.1,db.example/c", SslMode::Require),
            ("postgresql://a@db.example/c?sslmode=disable", SslMode::Disable),
            ("postgresql://a@localhost/c", SslMode::Disable),
            ("postgresql://a@127.0.0.1:5433/c?sslmode=require", SslMode::Require),
            ("host=/run/postgresql user=a dbname=c", SslMode::Disable),
        ] {
            let url = url(text).expect("a URL");
            assert_eq!(url.config().get_ssl_mode(), mode, "{text}");
            assert_eq!(url.config().get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        }
    }

    #[test]
    fn a_url_prints_as_where_it_leads() {
        let url = url("postgresql://a:secret@one:5433,two/c").expect("a URL");
        assert_eq!(format!("{url:?}"), "PostgresUrl(c on one, two)");
    }
}
