//! Requests that come while others of their kind are at the database, and go in one command after them: each alone would cost several
//! times as much. A lone one waits for nobody.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tracing::error;

use super::engine::Engine;
use crate::error::{Error, Result};

/// Requests in one command.
pub(super) const MOST_TOGETHER: usize = 1000;
/// Requests of a kind that may wait; past it whoever asks is told to come back.
const MOST_WAITING: usize = 2048;

/// A kind of request.
pub(super) trait Request: Sized + Send + 'static {
    /// What each gets.
    type Answer: Send + 'static;

    /// For the log.
    const WHAT: &'static str;

    /// Where those wait that come meanwhile.
    fn line(engine: &Engine) -> &Line<Self>;

    /// Carries them out and answers each, in their order.
    fn carry_out(engine: &Engine, requests: Vec<Self>) -> impl Future<Output = Vec<Result<Self::Answer>>> + Send;
}

type Reply<R> = oneshot::Sender<Result<<R as Request>::Answer>>;

/// Those who wait.
pub(super) struct Line<R: Request>(Mutex<Waiting<R>>);

struct Waiting<R: Request> {
    under_way: bool,
    requests: Vec<R>,
    replies: Vec<Reply<R>>,
}

impl<R: Request> Default for Line<R> {
    fn default() -> Self {
        Self(Mutex::new(Waiting { under_way: false, requests: Vec::new(), replies: Vec::new() }))
    }
}

impl<R: Request> Line<R> {
    fn waiting(&self) -> MutexGuard<'_, Waiting<R>> {
        // std Mutex: never held across an await.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next ones; without any, the end of the task is noted in the same step.
    fn take(&self) -> (Vec<R>, Vec<Reply<R>>) {
        let mut waiting = self.waiting();
        let count = waiting.requests.len().min(MOST_TOGETHER);
        waiting.under_way = count > 0;
        (waiting.requests.drain(..count).collect(), waiting.replies.drain(..count).collect())
    }
}

impl Engine {
    /// Waits for the answer to one request. Errors: `Overloaded` when too many wait; `Unavailable` when nobody knows whether it was done.
    pub(super) async fn together<R: Request>(self: &Arc<Self>, request: R) -> Result<R::Answer> {
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = R::line(self).waiting();
            if waiting.requests.len() >= MOST_WAITING {
                return Err(Error::overloaded());
            }
            waiting.requests.push(request);
            waiting.replies.push(reply);
            if !waiting.under_way {
                waiting.under_way = true;
                // In a task of its own: whoever asked first may go away while others wait.
                self.tasks.spawn(carry_out_all::<R>(Arc::clone(self)));
            }
        }
        answer.await.unwrap_or_else(|_| Err(Error::unavailable(format!("{} was given up", R::WHAT))))
    }
}

async fn carry_out_all<R: Request>(engine: Arc<Engine>) {
    loop {
        let (requests, replies) = R::line(&engine).take();
        if requests.is_empty() {
            return;
        }
        // A panic would leave everybody after it waiting; these learn that theirs was given up.
        match AssertUnwindSafe(R::carry_out(&engine, requests)).catch_unwind().await {
            Ok(answers) => {
                for (reply, answer) in replies.into_iter().zip(answers) {
                    // Whoever asked may have gone away.
                    let _ = reply.send(answer);
                }
            }
            Err(_) => error!("{} panicked", R::WHAT),
        }
    }
}
