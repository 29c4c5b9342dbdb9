//! Gives memory back that a crowd or an attack needed and nobody needs any more; by itself the allocator keeps most of it.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tracing::debug;

/// The shortest pause between two looks.
const PAUSE: Duration = Duration::from_secs(20);
/// The pause is so many times as long as a look: whoever needs memory just then waits for it.
const REST: u32 = 1_000;

/// Looks again and again until it is dropped.
pub async fn give_back_for_ever() -> Infallible {
    let mut pause = PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        let looked = tokio::task::spawn_blocking(|| {
            let begun = Instant::now();
            samvad_trim::give_back();
            begun.elapsed()
        });
        // It can only fail where no thread can be started; later there may be one.
        let took = looked.await.unwrap_or_default();
        debug!(took_ms = took.as_millis(), "free memory was given back");
        pause = PAUSE.max(took * REST);
    }
}
