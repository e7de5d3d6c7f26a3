//! A network between processes that a test may break: a TCP proxy, which then loses what is sent and says nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Carries connections to a port of its own on to others, to each in turn, or to the next one where nobody listens.
pub struct Line {
    pub port: u16,
    broken: watch::Sender<bool>,
    carrier: JoinHandle<()>,
}

impl Line {
    /// A line from any port to this one.
    pub async fn to(target: u16) -> Self {
        Self::from(0, vec![target]).await
    }

    /// A line from a port to these.
    pub async fn from(port: u16, targets: Vec<u16>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (broken, turn, targets) = (watch::Sender::new(false), AtomicUsize::new(0), Arc::new(targets));
        let state = broken.clone();
        let carrier = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let first = turn.fetch_add(1, Ordering::Relaxed);
                connections.spawn(carry(near, (Arc::clone(&targets), first), state.subscribe()));
            }
        });
        Self { port, broken, carrier }
    }

    /// Loses everything from now on; nobody is told.
    pub fn cut(&self) {
        self.broken.send_replace(true);
    }

    /// Carries again. Connections of before are gone.
    pub fn mend(&self) {
        self.broken.send_replace(false);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

async fn carry(mut near: TcpStream, (targets, first): (Arc<Vec<u16>>, usize), mut broken: watch::Receiver<bool>) {
    for turn in 0..targets.len() {
        if broken.wait_for(|broken| !*broken).await.is_err() {
            return;
        }
        let target = targets[(first + turn) % targets.len()];
        let Ok(mut far) = TcpStream::connect(("127.0.0.1", target)).await else { continue };
        let breaks = async {
            let _ = broken.wait_for(|broken| *broken).await;
        };
        let done = tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => true,
            () = breaks => false,
        };
        if !done {
            let _ = broken.wait_for(|broken| !*broken).await; // and until then nobody is told
        }
        return;
    }
}
