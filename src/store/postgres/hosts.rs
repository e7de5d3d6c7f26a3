//! The hosts of a database, of which one takes writes: asked one after the other, the one that answered last first.
//!
//! The driver would wait at a host for ever that takes connections and says nothing, as one does whose disk hangs, and
//! never get to the one that has taken its place.

use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::Connect;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::LoadBalanceHosts;
use tokio_postgres::{Client, Config, Error};

/// A connection, and the task that it lives in.
type Connected = (Client, JoinHandle<()>);

/// Connects to the first of several hosts that will do.
pub(super) struct Hosts {
    /// Each alone.
    each: Vec<Config>,
    /// How long each may take, but for the last one that is asked: the pool waits no longer than for all of them.
    within: Duration,
    connector: Box<dyn Connect>,
    /// The one that answered last.
    last: AtomicUsize,
}

impl Hosts {
    /// The hosts of `config`, each of which may take so long.
    pub(super) fn of(config: &Config, within: Duration, connector: Box<dyn Connect>) -> Self {
        Self { each: split(config), within, connector, last: AtomicUsize::default() }
    }

    /// How long it may take to ask them all.
    pub(super) fn patience(&self) -> Duration {
        self.within * u32::try_from(self.each.len()).unwrap_or(1)
    }

    async fn connect(&self) -> Result<Connected, Error> {
        let count = self.each.len();
        let first = match self.each[0].get_load_balance_hosts() {
            LoadBalanceHosts::Random => usize::try_from(RandomState::new().hash_one(count) % 1_024).unwrap_or(0),
            _ => self.last.load(Ordering::Relaxed),
        };
        for turn in 0..count - 1 {
            let host = (first + turn) % count;
            if let Ok(Ok(connected)) = timeout(self.within, self.connector.connect(&self.each[host])).await {
                self.last.store(host, Ordering::Relaxed);
                return Ok(connected);
            }
        }
        let host = (first + count - 1) % count;
        let connected = self.connector.connect(&self.each[host]).await?;
        self.last.store(host, Ordering::Relaxed);
        Ok(connected)
    }
}

impl Connect for Hosts {
    fn connect(&self, _: &Config) -> Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + '_>> {
        Box::pin(self.connect())
    }
}

/// A configuration for each host. One with lists that do not fit stays whole: the driver says what is wrong with it.
fn split(config: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (config.get_hosts().len(), config.get_hostaddrs().len(), config.get_ports().len());
    let count = hosts.max(addresses);
    let fits = |length: usize, few: usize| length <= few || length == count;
    if count < 2 || !fits(hosts, 0) || !fits(addresses, 0) || !fits(ports, 1) {
        return vec![config.clone()];
    }
    (0..count).map(|number| only(config, number)).collect()
}

/// The same configuration with one of its hosts.
fn only(config: &Config, number: usize) -> Config {
    let mut one = Config::new();
    one.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts());
    config.get_user().map(|user| one.user(user));
    config.get_password().map(|password| one.password(password));
    config.get_dbname().map(|name| one.dbname(name));
    config.get_options().map(|options| one.options(options));
    config.get_application_name().map(|name| one.application_name(name));
    config.get_connect_timeout().map(|timeout| one.connect_timeout(*timeout));
    config.get_tcp_user_timeout().map(|timeout| one.tcp_user_timeout(*timeout));
    config.get_keepalives_interval().map(|interval| one.keepalives_interval(interval));
    config.get_keepalives_retries().map(|retries| one.keepalives_retries(retries));
    match config.get_hosts().get(number) {
        Some(tokio_postgres::config::Host::Tcp(name)) => drop(one.host(name)),
        Some(tokio_postgres::config::Host::Unix(path)) => drop(one.host_path(path)),
        None => {}
    }
    config.get_hostaddrs().get(number).map(|address| one.hostaddr(*address));
    config.get_ports().get(number).or_else(|| config.get_ports().first()).map(|port| one.port(*port));
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that may be said, about these hosts.
    fn config(hosts: &str) -> Config {
        let said = "user=a password=b dbname=c options='-c x=y' application_name=d sslmode=require sslnegotiation=direct \
             connect_timeout=1 tcp_user_timeout=2 keepalives=0 keepalives_idle=3 keepalives_interval=4 keepalives_retries=5 \
             target_session_attrs=read-write channel_binding=require load_balance_hosts=random";
        format!("{said} {hosts}").parse().expect("a configuration")
    }

    #[test]
    fn each_host_is_asked_as_all_are() {
        let several = config("host=one,/run/two,three hostaddr=10.0.0.1,10.0.0.2,10.0.0.3 port=1,2,3");
        let each = [
            config("host=one hostaddr=10.0.0.1 port=1"),
            config("host=/run/two hostaddr=10.0.0.2 port=2"),
            config("host=three hostaddr=10.0.0.3 port=3"),
        ];
        assert_eq!(split(&several), each);
        let one_port = config("host=one,two port=7");
        assert_eq!(split(&one_port), [config("host=one port=7"), config("host=two port=7")]);
        let alone = config("host=one port=1");
        assert_eq!(only(&alone, 0), alone);
    }

    #[test]
    fn lists_that_do_not_fit_are_left_to_the_driver() {
        for hosts in ["host=one,two,three port=1,2", "host=one,two hostaddr=10.0.0.1", "host=one port=1,2"] {
            assert_eq!(split(&config(hosts)), [config(hosts)], "{hosts}");
        }
    }
}
