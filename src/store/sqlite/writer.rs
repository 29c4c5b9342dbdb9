//! The one thread that writes. Whatever waits in its queue goes into one transaction, so that many senders share one fsync.
//!
//! Order of the queue is order of the transaction is order of the answers. Nothing is answered before the commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::metrics::StoreMetrics;
use crate::models::IdClock;
use crate::store::Pending;

const BATCH_ITEMS: usize = 1024;
const BATCH_BYTES: usize = 4 << 20;
// By then the client has asked again; storing it now would only delay those who still wait.
const PATIENCE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_millis(100);

/// The writer's end for everybody else.
pub(super) struct Writer {
    queue: Sender<Entry>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Entry {
    Write(Waiting),
    Close,
}

struct Waiting {
    since: Instant,
    size_bytes: usize,
    task: Box<dyn Task>,
}

/// What the writer thread works with.
pub(super) struct Desk {
    /// The connection that writes.
    pub(super) connection: Connection,
    /// Makes another one when this one is beyond repair.
    pub(super) reconnect: Box<dyn Fn() -> rusqlite::Result<Connection> + Send>,
    /// Ids and times, in the order of the queue.
    pub(super) clock: IdClock,
    /// Let go of when the thread ends.
    pub(super) lock: Box<dyn Send>,
    /// Where commits are noted.
    pub(super) metrics: Arc<StoreMetrics>,
}

impl Writer {
    /// Starts the thread. `queue_len` is how many writes may wait; the next one is refused.
    pub(super) fn start(desk: Desk, queue_len: usize) -> std::io::Result<Self> {
        Self::start_with(desk, queue_len, PATIENCE)
    }

    fn start_with(desk: Desk, queue_len: usize, patience: Duration) -> std::io::Result<Self> {
        let (queue, entries) = bounded(queue_len);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || WriterThread { desk, entries, patience, unsettled: false, suspect: false }.run())?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)) })
    }

    /// Takes the next place in the queue for `work`, now; the future only waits for the answer.
    pub(super) fn submit<T, F>(&self, size_bytes: usize, work: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &IdClock) -> Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let task = Box::new(Write { work: Some(work), result: None, answer });
        let refused = match self.queue.try_send(Entry::Write(Waiting { since: Instant::now(), size_bytes, task })) {
            Ok(()) => None,
            Err(TrySendError::Full(_)) => Some(Error::overloaded()),
            Err(TrySendError::Disconnected(_)) => Some(closed()),
        };
        Box::pin(async move {
            match refused {
                Some(error) => Err(error),
                None => answered.await.unwrap_or_else(|_| Err(closed())),
            }
        })
    }

    /// How many writes wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Finishes what is queued and ends the thread. Blocks.
    pub(super) fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // An error means that the thread has gone already.
        _ = self.queue.send(Entry::Close);
        if let Some(thread) = thread {
            _ = thread.join();
        }
    }
}

fn closed() -> Error {
    Error::unavailable("the store is closed")
}

/// One write in the queue, whatever it returns.
trait Task: Send {
    fn apply(&mut self, connection: &Connection, clock: &IdClock) -> Applied;
    fn answer(self: Box<Self>, fate: Fate<'_>);
}

enum Applied {
    Keep,
    Undo,
    Panicked,
}

/// What became of a write after it was applied, or why it was not.
#[derive(Clone, Copy)]
enum Fate<'a> {
    Settled,
    Expired,
    Lost(&'a str),
}

struct Write<T, F> {
    work: Option<F>,
    result: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T, F> Task for Write<T, F>
where
    T: Send,
    F: FnOnce(&Connection, &IdClock) -> Result<T> + Send,
{
    fn apply(&mut self, connection: &Connection, clock: &IdClock) -> Applied {
        let Some(work) = self.work.take() else { return Applied::Undo };
        let outcome = catch_unwind(AssertUnwindSafe(|| work(connection, clock)));
        let applied = match &outcome {
            Ok(Ok(_)) => Applied::Keep,
            Ok(Err(_)) => Applied::Undo,
            Err(_) => Applied::Panicked,
        };
        self.result = Some(outcome.unwrap_or_else(|_| Err(Error::internal("a write panicked"))));
        applied
    }

    fn answer(self: Box<Self>, fate: Fate<'_>) {
        let result = match fate {
            Fate::Settled => self.result.unwrap_or_else(|| Err(Error::internal("a write was never applied"))),
            Fate::Expired => Err(Error::overloaded()),
            Fate::Lost(why) => match self.result {
                // What ended the transaction, as a full disk does; `why` only says that it had ended.
                Some(Err(own @ Error::Unavailable(_))) => Err(own),
                _ => Err(Error::unavailable(why)),
            },
        };
        // An error means that the caller no longer waits; the write stands all the same.
        _ = self.answer.send(result);
    }
}

struct WriterThread {
    desk: Desk,
    entries: Receiver<Entry>,
    patience: Duration,
    /// Something was committed since the last checkpoint.
    unsettled: bool,
    /// The connection was seen in a state it should not be in.
    suspect: bool,
}

impl WriterThread {
    fn run(mut self) {
        while let Some(Entry::Write(first)) = self.next_entry() {
            let (batch, closing) = self.gather(first);
            self.commit(batch);
            if closing {
                break;
            }
        }
        self.finish();
    }

    /// Waits for work. A queue that stays empty for a moment is the time to move the log into the file.
    fn next_entry(&mut self) -> Option<Entry> {
        if self.unsettled {
            match self.entries.recv_timeout(IDLE) {
                Ok(entry) => return Some(entry),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.checkpoint("PASSIVE"),
            }
            self.unsettled = false;
        }
        self.entries.recv().ok()
    }

    /// Takes along what waits already. No lingering: a lone sender pays one fsync, under load batches grow by themselves.
    fn gather(&self, first: Waiting) -> (Vec<Waiting>, bool) {
        let mut bytes = first.size_bytes;
        let mut batch = vec![first];
        while batch.len() < BATCH_ITEMS && bytes < BATCH_BYTES {
            match self.entries.try_recv() {
                Ok(Entry::Write(waiting)) => {
                    bytes += waiting.size_bytes;
                    batch.push(waiting);
                }
                Ok(Entry::Close) => return (batch, true),
                Err(_) => break,
            }
        }
        (batch, false)
    }

    fn commit(&mut self, mut batch: Vec<Waiting>) {
        let began = Instant::now();
        let outcome = self.transact(&mut batch);
        let lost = match outcome {
            Ok(started) => {
                self.desk.metrics.note_commit(began.elapsed(), batch.len());
                self.unsettled = true;
                for (waiting, started) in batch.into_iter().zip(started) {
                    waiting.task.answer(if started { Fate::Settled } else { Fate::Expired });
                }
                None
            }
            Err(error) => Some((error.to_string(), batch)),
        };
        // Before anyone hears of it: a caller who asks again at once should find a connection that works.
        self.mend();
        if let Some((why, batch)) = lost {
            self.desk.metrics.failed_commits.inc();
            tracing::error!(writes = batch.len(), "a commit of {} writes failed: {why}", batch.len());
            batch.into_iter().for_each(|waiting| waiting.task.answer(Fate::Lost(&why)));
        }
    }

    /// Applies the batch in one transaction. A write that fails is undone alone. Returns which of them were in time.
    fn transact(&mut self, batch: &mut [Waiting]) -> rusqlite::Result<Vec<bool>> {
        let connection = &self.desk.connection;
        run(connection, "BEGIN IMMEDIATE")?;
        let mut started = Vec::with_capacity(batch.len());
        for waiting in batch {
            let in_time = waiting.since.elapsed() < self.patience;
            started.push(in_time);
            if !in_time {
                continue;
            }
            run(connection, "SAVEPOINT item")?;
            match waiting.task.apply(connection, &self.desk.clock) {
                Applied::Keep => {}
                Applied::Undo => run(connection, "ROLLBACK TO item")?,
                Applied::Panicked => {
                    self.suspect = true;
                    run(connection, "ROLLBACK TO item")?;
                }
            }
            // Fails, as it should, if an error made SQLite roll everything back on its own.
            run(connection, "RELEASE item")?;
        }
        run(connection, "COMMIT")?;
        Ok(started)
    }

    /// Makes sure that the next batch finds a connection without an open transaction.
    fn mend(&mut self) {
        let open = |connection: &Connection| !connection.is_autocommit();
        if open(&self.desk.connection) {
            _ = run(&self.desk.connection, "ROLLBACK");
        }
        if self.suspect || open(&self.desk.connection) {
            match (self.desk.reconnect)() {
                Ok(connection) => (self.desk.connection, self.suspect) = (connection, false),
                Err(error) => tracing::error!("cannot reopen the database: {error}"),
            }
        }
    }

    fn checkpoint(&self, mode: &str) {
        if let Err(error) = self.desk.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())) {
            tracing::warn!("checkpoint failed: {error}");
        }
    }

    fn finish(self) {
        if let Err(error) = self.desk.connection.execute_batch("PRAGMA optimize;") {
            tracing::warn!("optimize failed: {error}");
        }
        self.checkpoint("TRUNCATE");
        let Desk { connection, lock, .. } = self.desk;
        // The lock goes last: whoever waits for it must find the file at rest.
        drop(connection);
        drop(lock);
    }
}

fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(dir: &tempfile::TempDir, patience: Duration) -> Writer {
        let file = dir.path().join("test.db");
        let reconnect = move || {
            let connection = Connection::open(&file)?;
            connection.execute_batch(
                "PRAGMA foreign_keys = ON; CREATE TABLE IF NOT EXISTS parent(id INTEGER PRIMARY KEY) STRICT;
                 CREATE TABLE IF NOT EXISTS item(n INTEGER UNIQUE, parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED) STRICT;",
            )?;
            Ok(connection)
        };
        let connection = reconnect().unwrap();
        let desk =
            Desk { connection, reconnect: Box::new(reconnect), clock: IdClock::new(None), lock: Box::new(()), metrics: Arc::default() };
        Writer::start_with(desk, 64, patience).unwrap()
    }

    fn insert(writer: &Writer, n: i64, parent: Option<i64>) -> Pending<()> {
        writer.submit(0, move |connection, _| {
            connection.execute("INSERT INTO item(n, parent) VALUES(?1, ?2)", (n, parent)).map(drop).map_err(Error::from)
        })
    }

    async fn stored(writer: &Writer) -> Vec<i64> {
        let all = writer.submit(0, |connection, _| {
            let mut statement = connection.prepare("SELECT n FROM item ORDER BY n")?;
            let rows = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
            Ok(rows)
        });
        all.await.unwrap()
    }

    /// Keeps the writer busy until the returned sender is used, so that what follows lands in one batch.
    async fn hold(writer: &Writer) -> (std::sync::mpsc::Sender<()>, Pending<()>) {
        let (started, is_started) = oneshot::channel();
        let (release, released) = std::sync::mpsc::channel();
        let held = writer.submit(BATCH_BYTES, move |_, _| {
            _ = started.send(());
            released.recv().map_err(Error::internal)
        });
        is_started.await.unwrap();
        (release, held)
    }

    #[tokio::test]
    async fn a_failing_or_panicking_write_is_undone_alone() {
        let dir = tempfile::tempdir().unwrap();
        let writer = writer(&dir, PATIENCE);
        let (release, held) = hold(&writer).await;
        let first = insert(&writer, 1, None);
        let twice = insert(&writer, 1, None);
        let panics = writer.submit(0, |connection, _| -> Result<()> {
            connection.execute("INSERT INTO item(n) VALUES(99)", [])?;
            panic!("on purpose")
        });
        let last = insert(&writer, 2, None);
        release.send(()).unwrap();
        held.await.unwrap();
        first.await.unwrap();
        assert_eq!(twice.await.unwrap_err().code(), "INTERNAL");
        assert_eq!(panics.await.unwrap_err().code(), "INTERNAL");
        last.await.unwrap();
        assert_eq!(stored(&writer).await, [1, 2]);
    }

    #[tokio::test]
    async fn a_failed_commit_fails_its_whole_batch_and_the_next_one_succeeds() {
        let dir = tempfile::tempdir().unwrap();
        let writer = writer(&dir, PATIENCE);
        let (release, held) = hold(&writer).await;
        let neighbour = insert(&writer, 1, None);
        let orphan = insert(&writer, 2, Some(404));
        release.send(()).unwrap();
        held.await.unwrap();
        assert_eq!(neighbour.await.unwrap_err().code(), "UNAVAILABLE");
        assert_eq!(orphan.await.unwrap_err().code(), "UNAVAILABLE");
        insert(&writer, 3, None).await.unwrap();
        assert_eq!(stored(&writer).await, [3]);
    }

    #[tokio::test]
    async fn a_write_that_waited_too_long_is_refused_before_it_is_applied() {
        let dir = tempfile::tempdir().unwrap();
        let writer = writer(&dir, Duration::from_millis(200));
        let (release, held) = hold(&writer).await;
        let late = insert(&writer, 1, None);
        tokio::time::sleep(Duration::from_millis(250)).await;
        let in_time = insert(&writer, 2, None);
        release.send(()).unwrap();
        held.await.unwrap();
        assert_eq!(late.await.unwrap_err().code(), "OVERLOADED");
        in_time.await.unwrap();
        assert_eq!(stored(&writer).await, [2]);
    }

    #[tokio::test]
    async fn what_is_queued_before_closing_is_stored_and_what_comes_after_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let writer = std::sync::Arc::new(writer(&dir, PATIENCE));
        let (release, held) = hold(&writer).await;
        let queued = insert(&writer, 1, None);
        let closing = tokio::task::spawn_blocking({
            let writer = writer.clone();
            move || writer.close()
        });
        release.send(()).unwrap();
        held.await.unwrap();
        queued.await.unwrap();
        closing.await.unwrap();
        assert_eq!(insert(&writer, 2, None).await.unwrap_err().code(), "UNAVAILABLE");
    }
}
