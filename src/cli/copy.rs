//! `samvad copy`: everything of one store into another, whichever kind they are. What is the same already is passed over, so that a copy
//! that was broken off goes on where it was.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use samvad::config::{StoreConfig, database_in};
use samvad::models::{AuditAction, Conversation, ConversationHandle, Message};
use samvad::store::{Load, Store};

/// Conversations, messages or calls of one read and one write.
const PAGE: usize = 500;

/// Reads `--to`: a folder, or a MongoDB address that names a database.
pub fn destination(text: &str) -> Result<StoreConfig, String> {
    if text.starts_with("mongodb://") || text.starts_with("mongodb+srv://") {
        let database = database_in(text).ok_or("the address must name the database: mongodb://host/database")?;
        return Ok(StoreConfig::Mongo { uri: text.to_owned(), database });
    }
    Ok(StoreConfig::Embedded(PathBuf::from(text)))
}

/// What was found, copied and compared.
#[derive(Default)]
struct Tally {
    conversations: u64,
    messages: u64,
    copied: u64,
    calls: u64,
    relations: u64,
}

/// Copies and compares. Errors: what could not be copied, or is not the same afterwards.
pub async fn copy(from: &Arc<dyn Store>, to: &Arc<dyn Store>) -> Result<(), String> {
    let fail = |e: samvad::error::Error| match std::error::Error::source(&e) {
        Some(source) => format!("{e}: {source}"),
        None => e.to_string(),
    };
    let mut tally = Tally::default();
    let mut sums = [Context::new(&SHA256), Context::new(&SHA256)];
    let mut after = None;
    loop {
        let page = from.walk_conversations(after, PAGE).await.map_err(fail)?;
        let Some(last) = page.last() else { break };
        after = Some(last.handle.id);
        for conversation in page {
            let vague = is_vague(&conversation);
            let there = to.find_conversation(&samvad::store::Lookup::Id(conversation.handle.id)).await.map_err(fail)?;
            let (wanted, count) = digest(from, &conversation, vague).await.map_err(fail)?;
            let mut found = match &there {
                Some(there) => Some(digest(to, there, vague).await.map_err(fail)?),
                None => None,
            };
            if found.as_ref().is_none_or(|(sum, _)| *sum != wanted) {
                put(from, to, &conversation).await.map_err(fail)?;
                if vague {
                    to.put_right(conversation.handle.id).await.map_err(fail)?;
                }
                tally.copied += 1;
                let there = to.find_conversation(&samvad::store::Lookup::Id(conversation.handle.id)).await.map_err(fail)?;
                let there = there.ok_or_else(|| format!("{} was written and is not there", conversation.key()))?;
                found = Some(digest(to, &there, vague).await.map_err(fail)?);
            }
            let (sum, found_count) = found.unwrap_or_default();
            if found_count != count {
                return Err(format!("{} has {count} messages here and {found_count} there", conversation.key()));
            }
            if sum != wanted {
                return Err(format!("{} is not the same there: does something else write to one of the two?", conversation.key()));
            }
            sums[0].update(&wanted);
            sums[1].update(&sum);
            tally.conversations += 1;
            tally.messages += count;
        }
    }
    copy_calls(from, to, &mut tally, &mut sums).await.map_err(fail)?;
    copy_trust(from, to, &mut tally).await.map_err(fail)?;
    let [here, there] = sums.map(|sum| hex(sum.finish().as_ref()));
    println!(
        "{} conversations ({} copied now, the others were there), {} messages, {} calls, {} relations",
        tally.conversations, tally.copied, tally.messages, tally.calls, tally.relations
    );
    println!("sha256 here  {here}\nsha256 there {there}");
    if here == there { Ok(()) } else { Err("the calls are not the same there".into()) }
}

async fn put(from: &Arc<dyn Store>, to: &Arc<dyn Store>, conversation: &Conversation) -> samvad::error::Result<()> {
    let handle = ConversationHandle { filed_by_id: false, ..conversation.handle.clone() };
    // First, because its messages need it; what it says of them is copied, not counted.
    to.take_over(Load::Conversations(vec![Conversation { handle: handle.clone(), ..conversation.clone() }])).await?;
    let mut after = None;
    loop {
        let page = from.walk_messages(&conversation.handle, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id);
        to.take_over(Load::Messages(handle.clone(), page)).await?;
    }
}

/// A sum over a conversation and all of its messages, and how many there are. Independent of the store.
async fn digest(store: &Arc<dyn Store>, conversation: &Conversation, vague: bool) -> samvad::error::Result<(Vec<u8>, u64)> {
    let mut sum = Context::new(&SHA256);
    sum.update(format!("{:?}", plain(conversation, vague)).as_bytes());
    let (mut count, mut after) = (0, None);
    loop {
        let page: Vec<Message> = store.walk_messages(&conversation.handle, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        count += page.len() as u64;
        for message in &page {
            sum.update(format!("{message:?}").as_bytes());
        }
    }
    Ok((sum.finish().as_ref().to_vec(), count))
}

/// Whether a program that counts nothing wrote it last: of the latest message it kept a text. Then what it says of its messages is worked
/// out anew where it is copied to, and not compared.
fn is_vague(conversation: &Conversation) -> bool {
    let last = conversation.last_message.as_ref();
    last.is_some_and(|last| last.message_id.is_none() || last.sender.is_none() || last.at.is_none())
}

/// Without what is a matter of how a store keeps it.
fn plain(conversation: &Conversation, vague: bool) -> Conversation {
    let mut plain = conversation.clone();
    if vague {
        (plain.last_message, plain.unread) = (None, std::collections::BTreeMap::default());
    }
    plain.handle.filed_by_id = false;
    // The embedded store has no closed conversations, and one identity for all admins.
    plain.is_active = true;
    plain.unread.retain(|_, count| *count > 0);
    for member in &mut plain.members {
        member.participant = member.participant.identity();
    }
    plain
}

async fn copy_calls(
    from: &Arc<dyn Store>,
    to: &Arc<dyn Store>,
    tally: &mut Tally,
    [here, there]: &mut [Context; 2],
) -> samvad::error::Result<()> {
    let mut after = None;
    loop {
        let page = from.walk_calls(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id);
        tally.calls += page.len() as u64;
        to.take_over(Load::Calls(page.clone())).await?;
        for call in page {
            here.update(format!("{call:?}").as_bytes());
            let found = to.find_call(call.id).await?;
            there.update(found.map_or_else(|| "missing".to_owned(), |found| format!("{found:?}")).as_bytes());
        }
    }
}

/// Relations, revocations, and the audit trail if there is none yet: its entries have no ids to know them by.
async fn copy_trust(from: &Arc<dyn Store>, to: &Arc<dyn Store>, tally: &mut Tally) -> samvad::error::Result<()> {
    let relations = from.relations().await?;
    tally.relations = relations.len() as u64;
    for page in relations.chunks(PAGE) {
        to.take_over(Load::Relations(page.to_vec())).await?;
    }
    for revocation in from.revocations(None).await? {
        to.revoke(revocation).await?;
    }
    if to.audit_trail(None::<AuditAction>, None, 1).await?.is_empty() {
        let mut trail = from.audit_trail(None, None, 1_000_000).await?;
        trail.reverse();
        for page in trail.chunks(PAGE) {
            to.append_audit(page.to_vec()).await?;
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
