//! Work that is written a moment later, many pieces at once: a bounded queue emptied in batches, and to the end at shutdown.

use std::time::Duration;

use tokio::sync::mpsc;

use super::Core;

/// The next batch of at most `most`; what comes within `linger` of the first piece goes along. Empty once the queue is closed and done.
pub(super) async fn next<T>(core: &Core, queue: &mut mpsc::Receiver<T>, most: usize, linger: Duration) -> Vec<T> {
    let mut batch = Vec::new();
    tokio::select! {
        biased;
        _ = queue.recv_many(&mut batch, most) => {}
        () = core.stop.cancelled() => {
            queue.close();
            queue.recv_many(&mut batch, most).await;
        }
    }
    if !batch.is_empty() && batch.len() < most && !linger.is_zero() && !core.stop.is_cancelled() {
        tokio::time::sleep(linger).await;
        while batch.len() < most
            && let Ok(one) = queue.try_recv()
        {
            batch.push(one);
        }
    }
    batch
}
