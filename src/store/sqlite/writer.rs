//! The thread that writes, and commits in groups.

use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::Fault;
use crate::store::Unavailable;

/// How many calls may wait for the writer; more are turned away. A second's worth.
const QUEUE: usize = 4_096;

/// How many calls share a commit at most. A batch takes a few milliseconds, so that nobody waits long for the others.
const BATCH: usize = 256;

/// Hands calls to the thread that writes.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new().name("sqlite-writer".into()).spawn(move || work(&connection, queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `step` inside a transaction, and answers once that is on disk. A step that fails leaves nothing behind.
    ///
    /// The step runs even if the caller stops waiting, and a second time if the first one was undone with its batch.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: &'static str,
        step: impl Fn(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let job = Pending { call, step, outcome: None, reply };
        let jobs = self.jobs.as_ref().ok_or(Unavailable::Down)?;
        jobs.try_send(Box::new(job)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Fault::Full.report(call),
            mpsc::error::TrySendError::Closed(_) => Unavailable::Down,
        })?;
        answer.await.unwrap_or(Err(Unavailable::Down)) // no answer: the thread is gone
    }
}

/// Waits for what was handed over, so that the file can be opened again.
impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A call on its way through the writer.
trait Job: Send {
    /// Does its work inside the transaction; whether it succeeded.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Answers the caller, once it is known whether the transaction is on disk.
    fn answer(self: Box<Self>, committed: bool);
}

/// A call, with what came of it when it ran last.
struct Pending<T, F> {
    call: &'static str,
    step: F,
    outcome: Option<Result<T, Fault>>,
    reply: oneshot::Sender<Result<T, Unavailable>>,
}

impl<T: Send, F: Fn(&Connection) -> Result<T, Fault> + Send> Job for Pending<T, F> {
    fn run(&mut self, connection: &Connection) -> bool {
        self.outcome.insert((self.step)(connection)).is_ok()
    }

    fn answer(self: Box<Self>, committed: bool) {
        let answer = match self.outcome {
            Some(Ok(outcome)) if committed => Ok(outcome),
            Some(Ok(_)) | None => Err(Unavailable::Down),
            Some(Err(fault)) => Err(fault.report(self.call)),
        };
        drop(self.reply.send(answer)); // a caller that is gone needs no answer
    }
}

/// Commits batch after batch until nobody can send any more.
fn work(connection: &Connection, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.blocking_recv_many(&mut batch, BATCH) > 0 {
        let committed = match commit(connection, &mut batch) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(calls = batch.len(), %error, "the store did not commit");
                abandon(connection);
                false
            }
        };
        batch.drain(..).for_each(|job| job.answer(committed));
    }
}

/// Runs a batch in one transaction. A call that fails is undone alone.
///
/// To undo one call takes a savepoint for each, which costs as much as the call itself. Calls hardly ever fail, so a batch
/// runs without savepoints first, and with them only if that went wrong.
fn commit(connection: &Connection, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let tell = |statement| connection.prepare_cached(statement)?.execute([]);
    tell("BEGIN IMMEDIATE")?; // takes the write lock now: a read that turns into a write could not wait for it
    if !batch.iter_mut().all(|job| job.run(connection)) {
        abandon(connection);
        tell("BEGIN IMMEDIATE")?;
        for job in batch {
            tell("SAVEPOINT call")?;
            if !job.run(connection) {
                // Where SQLite gave up the whole transaction (a full disk), this fails, and so do all calls of the batch.
                tell("ROLLBACK TO call")?;
            }
            tell("RELEASE call")?;
        }
    }
    tell("COMMIT").map(drop)
}

/// Leaves a transaction that did not commit, so that the next one can begin.
fn abandon(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "the store did not roll back");
    }
}
