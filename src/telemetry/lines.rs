//! Log lines on their way out, in a thread of their own: who reads the log slowly, or not at all, holds up no request.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How much waits to be written at most, in bytes. What comes when it is full is dropped and counted: a log may have a
/// gap, a request may not wait for its reader.
pub const WAITING_LIMIT: usize = 4 * 1024 * 1024;

/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Where lines wait until they are written.
#[derive(Clone)]
pub(super) struct Lines(Arc<Queue>);

/// Keeps the log going. When it goes away, the last lines are written, or given up after a second.
#[must_use = "the last lines are lost if nobody waits for them"]
pub struct Log(Arc<Queue>);

/// What the threads share.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Told when lines come, and when they are written.
    changed: Condvar,
}

/// How long the first line of a write waits for others.
const GATHERING: Duration = Duration::from_millis(5);

/// So much text waits for nothing more, in bytes.
const CROWD: usize = 64 * 1024;

/// Lines that wait.
#[derive(Default)]
struct Waiting {
    /// Whole lines, one behind the other.
    text: Vec<u8>,
    /// Whether lines have been taken out and are not written yet.
    writing: bool,
    /// How many lines were dropped.
    dropped: u64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line, or drops it.
    fn add(&self, line: &[u8]) {
        let mut waiting = self.lock();
        // A writer at work looks for itself when it is done; to wake it for every line would cost more than the line.
        let writer_sleeps = waiting.text.is_empty() && !waiting.writing;
        if waiting.text.len() + line.len() > WAITING_LIMIT {
            waiting.dropped = waiting.dropped.saturating_add(1);
        } else {
            waiting.text.extend_from_slice(line);
        }
        drop(waiting);
        if writer_sleeps {
            self.changed.notify_all();
        }
    }

    /// Waits for lines; tells how many were dropped by then.
    fn take(&self) -> (Vec<u8>, u64) {
        let mut waiting = self.lock();
        waiting.writing = false;
        self.changed.notify_all();
        let mut waiting =
            self.changed.wait_while(waiting, |now| now.text.is_empty()).unwrap_or_else(PoisonError::into_inner);
        waiting.writing = true;
        // Others that come soon go out with the first one: under load, a write for each would cost more than the line.
        let few = |now: &mut Waiting| now.text.len() < CROWD;
        let gathered = self.changed.wait_timeout_while(waiting, GATHERING, few);
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut waiting.text), waiting.dropped)
    }
}

/// Starts a thread that writes lines to `out`, and calls `report` with the number of all lines that were dropped so far
/// whenever it has grown and there is room again.
///
/// # Errors
/// When there is no thread to be had.
pub(super) fn start(
    mut out: impl Write + Send + 'static,
    report: impl Fn(u64) + Send + 'static,
) -> io::Result<(Lines, Log)> {
    let queue = Arc::new(Queue::default());
    let taken = Arc::clone(&queue);
    let write = move || {
        let mut told = 0;
        loop {
            let (text, dropped) = taken.take();
            // Nobody is left to tell if the log itself cannot be written.
            let _ = out.write_all(&text).and_then(|()| out.flush());
            if dropped > told {
                told = dropped;
                report(dropped);
            }
        }
    };
    std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
    Ok((Lines(Arc::clone(&queue)), Log(queue)))
}

impl Drop for Log {
    fn drop(&mut self) {
        let unwritten = |waiting: &mut Waiting| waiting.writing || !waiting.text.is_empty();
        // Whoever does not read by now gets no more.
        drop(self.0.changed.wait_timeout_while(self.0.lock(), LAST_LINES, unwritten));
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A reader that takes a text whenever it is told to.
    struct Slow {
        go_on: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _ = self.go_on.recv();
            let _ = self.written.send(text.to_vec());
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_holds_up_nobody_and_is_told_what_it_missed() {
        let (go_on, told) = channel();
        let (written, read) = channel();
        let (report, reported) = channel();
        let report = move |dropped| report.send(dropped).expect("somebody listens");
        let (mut lines, log) = start(Slow { go_on: told, written }, report).expect("a thread");
        let line = [b'x'; 1_023].iter().chain(b"\n").copied().collect::<Vec<_>>();
        let room = WAITING_LIMIT / line.len();
        // Besides what waits, as much may have been taken out already: all this would not come back if it waited.
        for _ in 0..2 * room + 10 {
            lines.write_all(&line).expect("never an error");
        }
        for _ in 0..3 {
            go_on.send(()).expect("the thread waits");
        }
        let dropped = reported.recv().expect("a report");
        assert!(dropped >= 10, "{dropped}");
        drop(go_on); // from now on it reads at once
        lines.write_all(b"the last line\n").expect("never an error");
        drop(log);
        let text: Vec<u8> = read.try_iter().flatten().collect();
        assert!(text.ends_with(b"the last line\n"));
        assert_eq!(text.len() as u64 / 1_024 + dropped, 2 * room as u64 + 10);
    }
}
