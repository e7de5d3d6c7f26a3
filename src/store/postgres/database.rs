//! How a call reaches the database, and what becomes of it when something goes wrong on the way.
//!
//! | what went wrong | what became of the statement | the call |
//! |---|---|---|
//! | no connection in time | was not sent | fails |
//! | deadlock, serialisation failure | undone | runs again, [`ATTEMPTS`] times in all |
//! | the server only reads, or starts or stops | was not taken | runs again, on another connection |
//! | any other refusal of the server | undone | fails |
//! | the connection was lost | nobody knows | reads run again, writes fail |
//! | no answer came in time | nobody knows | fails, and the connection is closed: others would wait behind it |
//!
//! Invariant: a statement that may have been committed is not sent again. Its caller is told that we do not know; what
//! the rules do with the next request depends on what they then read.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError, Transaction};
use tokio::time::{error::Elapsed, timeout};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use crate::clock;
use crate::store::Unavailable;
use crate::store::record::UnknownName;

/// How often a statement is sent at most.
const ATTEMPTS: u32 = 3;

/// How long a statement that met others waits at most before it runs again, times the number of the attempt.
const PAUSE: Duration = Duration::from_millis(20);

/// What a statement is given.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Why a call failed. It becomes [`Unavailable`] at one place, where the cause is logged.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// A bound was reached.
    #[error("a bound was reached")]
    Full,
    /// There was no connection in time.
    #[error("no connection to the database")]
    Pool(#[from] PoolError),
    /// The server said no, the connection was lost, or a row holds what we do not understand.
    #[error("the database failed")]
    Postgres(#[from] tokio_postgres::Error),
    /// No answer came in time.
    #[error("the database did not answer in time")]
    Late(#[from] Elapsed),
    /// Others were faster every time.
    #[error("others changed the same record at the same time, again and again")]
    Contended,
    /// A row holds what this version does not know, which is a fault, never a guess.
    #[error("a row holds what this version does not know")]
    Unknown(#[from] UnknownName),
}

impl Fault {
    /// Logs the cause, which callers never see.
    pub(super) fn report(self, call: &'static str) -> Unavailable {
        if matches!(self, Self::Full) {
            tracing::error!(call, "the store is full: `{call}` was turned away");
            return Unavailable::Full;
        }
        tracing::error!(call, error = %self, cause = self.cause(), "the store did not do `{call}`");
        Unavailable::Down
    }

    /// What the driver said.
    fn cause(&self) -> Option<String> {
        match self {
            Self::Postgres(error) | Self::Pool(PoolError::Backend(error)) => Some(cause(error)),
            Self::Pool(error) => Some(error.to_string()),
            Self::Full | Self::Late(_) | Self::Contended | Self::Unknown(_) => None,
        }
    }

    /// What may be done after it.
    fn remedy(&self) -> Remedy {
        let Self::Postgres(error) = self else {
            return if matches!(self, Self::Late(_)) { Remedy::Unknown } else { Remedy::None };
        };
        match error.code() {
            Some(code) if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED => {
                Remedy::Again
            }
            Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION || *code == SqlState::CANNOT_CONNECT_NOW => {
                Remedy::Elsewhere
            }
            Some(_) => Remedy::None,
            None => Remedy::Unknown,
        }
    }
}

/// What may be done after a fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Remedy {
    /// Run it again.
    Again,
    /// Run it again, and not on this connection.
    Elsewhere,
    /// The statement may have run: it may be sent again if that changes nothing.
    Unknown,
    /// Nothing.
    None,
}

/// What an error of the driver says, without the details of the server: they quote rows.
pub(super) fn cause(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(server), _) => format!("{} {}", server.code().code(), server.message()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// Whether a statement may be sent again when nobody knows whether it ran.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effect {
    Reads,
    Writes,
}

/// The database, through a pool of connections.
#[derive(Debug)]
pub(super) struct Database {
    pool: Pool,
    /// How long an answer may take. The server gives up before that, but for a commit that waits for a standby.
    patience: Duration,
}

impl Database {
    /// The database behind `pool`.
    pub(super) fn new(pool: Pool, patience: Duration) -> Self {
        Self { pool, patience }
    }

    /// Runs a statement that changes nothing.
    pub(super) async fn read(&self, statement: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Fault> {
        self.run(Effect::Reads, statement, parameters).await
    }

    /// Runs a statement that changes something, in a transaction of its own.
    pub(super) async fn write(&self, statement: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Fault> {
        self.run(Effect::Writes, statement, parameters).await
    }

    /// The one row that a statement that changes nothing gives, if it gives one.
    pub(super) async fn read_one(&self, statement: &str, parameters: Parameters<'_>) -> Result<Option<Row>, Fault> {
        Ok(self.read(statement, parameters).await?.pop())
    }

    /// Runs a statement that changes something; whether it gave a row.
    pub(super) async fn changes(&self, statement: &str, parameters: Parameters<'_>) -> Result<bool, Fault> {
        Ok(!self.write(statement, parameters).await?.is_empty())
    }

    /// Whether a statement that changes nothing gives a row.
    pub(super) async fn finds(&self, statement: &str, parameters: Parameters<'_>) -> Result<bool, Fault> {
        Ok(!self.read(statement, parameters).await?.is_empty())
    }

    /// Runs several statements in one transaction. It is not tried again.
    pub(super) async fn transact<T>(
        &self,
        steps: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut connection = self.pool.get().await?;
        let transaction = async {
            let transaction = connection.transaction().await?;
            let done = steps(&transaction).await?;
            transaction.commit().await?;
            Ok(done)
        };
        match timeout(self.patience, transaction).await {
            Ok(done) => done,
            Err(elapsed) => {
                self.give_up(connection);
                Err(elapsed.into())
            }
        }
    }

    /// Closes a connection on which no answer came in time, and those that nobody has used since that was asked: a server
    /// that hangs, or that another one has replaced, keeps them open and answers on none.
    fn give_up(&self, connection: Object) {
        drop(Object::take(connection));
        let silent = self.patience;
        self.pool.retain(|_, metrics| metrics.last_used() < silent);
    }

    async fn run(&self, effect: Effect, statement: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Fault> {
        let mut attempt = 1;
        loop {
            let connection = self.pool.get().await?;
            let fault = match timeout(self.patience, ask(&connection, statement, parameters)).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) => Fault::Postgres(error),
                Err(elapsed) => Fault::Late(elapsed),
            };
            let remedy = fault.remedy();
            match remedy {
                Remedy::Again | Remedy::Elsewhere => {}
                Remedy::Unknown if matches!(fault, Fault::Late(_)) => {
                    self.give_up(connection);
                    return Err(fault);
                }
                Remedy::Unknown if effect == Effect::Reads => {}
                Remedy::Unknown | Remedy::None => return Err(fault),
            }
            if attempt == ATTEMPTS {
                return Err(fault);
            }
            if remedy == Remedy::Elsewhere {
                drop(Object::take(connection)); // closes it
            }
            pause(attempt).await;
            attempt += 1;
        }
    }
}

/// Runs a statement that this connection prepares once.
async fn ask(
    connection: &Object,
    statement: &str,
    parameters: Parameters<'_>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let statement = connection.prepare_cached(statement).await?;
    connection.query(&statement, parameters).await
}

/// Waits for a moment that differs between those who met.
async fn pause(attempt: u32) {
    let part = RandomState::new().hash_one(attempt) % 1_000; // of a thousand
    let pause = PAUSE * attempt * u32::try_from(part).unwrap_or_default() / 1_000;
    clock::pause(pause).await;
}
