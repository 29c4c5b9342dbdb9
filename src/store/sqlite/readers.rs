//! The threads that read. Each question sees one moment of the database, and never waits for the writer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::folder::FolderLock;
use crate::error::{Error, Result};

/// A question for whichever thread is free; `None` ends one of them.
type Question = Option<Box<dyn FnOnce(&Connection) + Send>>;

/// The readers' end for everybody else.
pub(super) struct Readers {
    queue: Sender<Question>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    /// Starts one thread for each connection. `queue_len` is how many questions may wait; the next one is refused.
    pub(super) fn start(connections: Vec<Connection>, queue_len: usize, lock: &Arc<FolderLock>) -> std::io::Result<Self> {
        let (queue, questions) = bounded(queue_len);
        let start = |(n, connection)| {
            let (questions, lock) = (questions.clone(), lock.clone());
            std::thread::Builder::new().name(format!("store-reader-{n}")).spawn(move || serve(connection, questions, lock))
        };
        let threads = connections.into_iter().enumerate().map(start).collect::<std::io::Result<_>>()?;
        Ok(Self { queue, threads: Mutex::new(threads) })
    }

    /// Asks; several statements of one question see the same moment.
    pub(super) async fn ask<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let question = move |connection: &Connection| {
            // The caller may have gone while the question waited.
            if !answer.is_closed() {
                let result = catch_unwind(AssertUnwindSafe(|| in_one_moment(connection, work)));
                _ = answer.send(result.unwrap_or_else(|_| Err(Error::internal("a read panicked"))));
            }
        };
        match self.queue.try_send(Some(Box::new(question))) {
            Ok(()) => answered.await.unwrap_or_else(|_| Err(closed())),
            Err(TrySendError::Full(_)) => Err(Error::overloaded()),
            Err(TrySendError::Disconnected(_)) => Err(closed()),
        }
    }

    /// Answers what is queued and ends the threads. Blocks.
    pub(super) fn close(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for _ in &threads {
            // An error means that they have gone already.
            _ = self.queue.send(None);
        }
        for thread in threads {
            _ = thread.join();
        }
    }
}

fn closed() -> Error {
    Error::unavailable("the store is closed")
}

fn serve(connection: Connection, questions: Receiver<Question>, lock: Arc<FolderLock>) {
    while let Ok(Some(question)) = questions.recv() {
        question(&connection);
    }
    drop(connection);
    drop(lock);
}

fn in_one_moment<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    // Rolls back when dropped, also in a panic: an open read transaction would keep the log from shrinking.
    let moment = connection.unchecked_transaction()?;
    work(&moment)
}
