//! Opening a database: TLS, what every connection is told first, and the schema.

use std::path::{Path, PathBuf};
use std::time::Duration;

use deadpool_postgres::{
    ConfigConnectImpl, Connect, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod,
    Runtime,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::ConfigVerifierExt as _;
use tokio::time::timeout;
use tokio_postgres::NoTls;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::database::{self, Database};
use super::hosts::Hosts;
use super::schema;
use super::settings::{PostgresSettings, PostgresUrl};

/// How much longer than the server we wait for the end of a statement.
const GRACE: Duration = Duration::from_secs(1);

/// Why a PostgreSQL database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// It cannot be reached, or does not let us in.
    #[error("cannot connect to the database {url}: {cause}")]
    Unreachable {
        /// Where it should be.
        url: PostgresUrl,
        /// What is in the way.
        cause: String,
    },
    /// The file with the certificates of authorities cannot be used.
    #[error("the file `{}` holds no certificate of an authority in PEM", .0.display())]
    Authorities(PathBuf),
    /// There is nothing to check its certificate with.
    #[error("cannot speak TLS to the database")]
    Tls(#[source] rustls::Error),
    /// It keeps text in another encoding.
    #[error("the database {url} keeps text in {found}; create it with `ENCODING 'UTF8'`")]
    Encoding {
        /// Where it is.
        url: PostgresUrl,
        /// The encoding.
        found: String,
    },
    /// A newer version of the program has changed its schema.
    #[error(
        "the database {url} has schema {found}, and this version knows schemas up to {known}; run the newer version, or restore a backup that was made before the update"
    )]
    Newer {
        /// Where it is.
        url: PostgresUrl,
        /// The schema of the database.
        found: i32,
        /// The newest schema that this version knows.
        known: i32,
    },
    /// Its schema could not be brought up to date.
    #[error("the schema of the database {url} could not be brought up to date: {cause}")]
    Schema {
        /// Where it is.
        url: PostgresUrl,
        /// What went wrong.
        cause: String,
    },
}

/// Brings the schema up to date, on a connection of its own: what it is told for that goes with it.
pub(super) async fn open(settings: &PostgresSettings) -> Result<Database, PostgresError> {
    let pool = pool(settings)?;
    let unreachable = |cause| PostgresError::Unreachable { url: settings.url.clone(), cause };
    let mut connection = pool.get().await.map_err(|error| unreachable(reason(&error)))?;
    schema::check_encoding(&connection, &settings.url).await?;
    schema::warn_of_risks(&connection, &settings.url).await;
    schema::migrate(&mut connection, &settings.url).await?;
    drop(Object::take(connection)); // closes it
    Ok(Database::new(pool, settings.answer_within + GRACE))
}

/// What kept a connection from being made.
fn reason(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => database::cause(error),
        PoolError::Timeout(_) => "no answer in time".into(),
        other => other.to_string(),
    }
}

fn pool(settings: &PostgresSettings) -> Result<Pool, PostgresError> {
    let mut config = settings.url.config().clone();
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(settings.connect_within); // of each host
    }
    let connector: Box<dyn Connect> = match config.get_ssl_mode() {
        SslMode::Disable => Box::new(ConfigConnectImpl { tls: NoTls }),
        _ => Box::new(ConfigConnectImpl { tls: MakeRustlsConnect::new(tls(settings.authorities.as_deref())?) }),
    };
    let hosts = Hosts::of(&config, settings.connect_within + GRACE, connector);
    let patience = hosts.patience();
    // A connection that was closed is known to be; one that only looks open fails its first call.
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_connect(config, hosts, recycling);
    let answer_within = settings.answer_within;
    let greeting = greeting(answer_within);
    let pool = Pool::builder(manager)
        .max_size(settings.connections)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(settings.connect_within))
        .create_timeout(Some(patience))
        .post_create(Hook::async_fn(move |connection, _| {
            let greeting = greeting.clone();
            Box::pin(async move {
                let greeted = timeout(answer_within + GRACE, connection.batch_execute(&greeting)).await;
                greeted.map_err(|_| HookError::message("no answer in time"))?.map_err(HookError::Backend)
            })
        }))
        .build();
    pool.map_err(|error| PostgresError::Unreachable { url: settings.url.clone(), cause: error.to_string() })
}

/// What every connection is told first. What is acknowledged is on disk, here and on every synchronous standby, whatever
/// the database, or the user, is set to; one that waits for more than that may go on to do so. The conditions in our
/// statements are the locks, which is right for the lowest isolation.
fn greeting(statement_timeout: Duration) -> String {
    let timeout = statement_timeout.as_millis();
    format!(
        "SELECT set_config('synchronous_commit', 'on', false)
           WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');
         SET default_transaction_isolation = 'read committed';
         SET statement_timeout = {timeout};
         SET idle_in_transaction_session_timeout = {timeout};"
    )
}

/// Trusts the authorities in a file, or those of the system.
fn tls(ca: Option<&Path>) -> Result<ClientConfig, PostgresError> {
    let Some(path) = ca else { return ClientConfig::with_platform_verifier().map_err(PostgresError::Tls) };
    let unusable = || PostgresError::Authorities(path.into());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|_| unusable())? {
        roots.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
    }
    if roots.is_empty() {
        return Err(unusable());
    }
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}
