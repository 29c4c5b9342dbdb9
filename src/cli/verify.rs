//! `samvad verify`: counts again what conversations say of their messages.

use std::time::Duration;

use samvad::models::{Conversation, ConversationId};
use samvad::store::{Recount, Store};

/// How many conversations are read at once.
const PAGE: usize = 500;
/// How long a difference has to last: where a server runs, a conversation shows a message a moment after it is stored.
const STILL: Duration = Duration::from_secs(2);

/// Reports what is wrong, and puts it right if asked to. Errors: something is wrong and stays so, in the words of a person.
pub async fn verify(store: &dyn Store, repair: bool) -> Result<(), String> {
    let (mut looked_at, mut suspects) = (0_u64, Vec::new());
    let mut after = None;
    loop {
        let page = store.walk_conversations(after, PAGE).await.map_err(|e| e.to_string())?;
        let Some(last) = page.last() else { break };
        after = Some(last.handle.id);
        for conversation in page {
            looked_at += 1;
            if let Some(seen) = wrong(store, conversation.handle.id).await? {
                suspects.push((conversation, seen));
            }
        }
    }
    if !suspects.is_empty() {
        tokio::time::sleep(STILL).await;
    }
    let (mut wrong_ones, mut mended) = (0_u64, 0_u64);
    for (conversation, before) in suspects {
        let Some(now) = wrong(store, conversation.handle.id).await?.filter(|now| *now == before) else { continue };
        wrong_ones += 1;
        describe(&conversation, &now);
        if repair {
            store.put_right(conversation.handle.id).await.map_err(|e| e.to_string())?;
            match wrong(store, conversation.handle.id).await? {
                None => mended += 1,
                Some(_) => println!("  was not put right: it changes while it is looked at, or cannot be read"),
            }
        }
    }
    println!("{looked_at} conversations looked at, {wrong_ones} wrong, {mended} put right");
    match wrong_ones - mended {
        0 => Ok(()),
        left if repair => Err(format!("{left} conversations are still wrong; try again")),
        left => Err(format!("{left} conversations are wrong; --repair puts them right")),
    }
}

async fn wrong(store: &dyn Store, id: ConversationId) -> Result<Option<Recount>, String> {
    let recount = store.recount(id).await.map_err(|e| format!("conversation {id}: {e}"))?;
    Ok(recount.filter(|recount| !recount.is_right()))
}

fn describe(conversation: &Conversation, recount: &Recount) {
    println!("{} ({})", conversation.key(), conversation.handle.id);
    for (person, counted, real) in recount.wrong_counts() {
        println!("  unread of {person}: says {counted}, is {real}");
    }
    if !recount.is_latest_right() {
        // Ids only: what people say is not for a terminal.
        let shown = match &recount.shown {
            None => "nothing".to_owned(),
            Some(last) => last.message_id.map_or_else(|| "a text without an id".to_owned(), |id| id.to_string()),
        };
        let newest = recount.newest.as_ref().map_or_else(|| "nothing".to_owned(), |(id, _)| id.to_string());
        println!("  latest message: shows {shown}, is {newest}");
    }
}
