//! The threads that read.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Fault, OpenError, file};
use crate::store::Unavailable;

/// How many threads read. A read takes microseconds unless it has to wait for the disk.
const THREADS: usize = 2;

/// How many reads may wait for each thread; more are turned away.
const QUEUE: usize = 2_048;

/// A read, together with the way back to its caller.
type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Hands reads to the threads that read, in turn. Each has a queue of its own: a shared one needs a lock, and then every
/// read wakes two threads, one to work and one to wait.
pub(super) struct Readers {
    queues: Vec<mpsc::Sender<Job>>,
    turn: AtomicUsize,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Opens a connection for each thread, and starts them.
    pub(super) fn start(path: &Path) -> Result<Self, OpenError> {
        let mut readers = Self { queues: Vec::new(), turn: AtomicUsize::new(0), threads: Vec::new() };
        for _ in 0..THREADS {
            let connection = file::open_for_reading(path)?;
            let (jobs, queue) = mpsc::channel(QUEUE);
            let thread = thread::Builder::new().name("sqlite-reader".into());
            let thread = thread.spawn(move || work(&connection, queue)).map_err(OpenError::Thread)?;
            readers.queues.push(jobs);
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Runs `step`, which sees everything that was acknowledged before.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        call: &'static str,
        step: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let answer = step(connection).map_err(|fault| fault.report(call));
            drop(reply.send(answer)); // a caller that is gone needs no answer
        });
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.queues[turn % THREADS].try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Fault::Full.report(call),
            mpsc::error::TrySendError::Closed(_) => Unavailable::Down,
        })?;
        answer.await.unwrap_or(Err(Unavailable::Down)) // no answer: the thread is gone
    }
}

/// Waits for the threads, so that the file can be opened again.
impl Drop for Readers {
    fn drop(&mut self) {
        self.queues.clear();
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Reads until nobody can ask any more.
fn work(connection: &Connection, mut queue: mpsc::Receiver<Job>) {
    while let Some(job) = queue.blocking_recv() {
        job(connection);
    }
}
