//! `samvad copy`: everything of one store into another, whichever kind they are. What is the same already is passed over, so that a copy
//! that was broken off goes on where it was.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256, digest};

use samvad::config::{StoreConfig, database_in};
use samvad::models::media::{Attachment, AttachmentState};
use samvad::models::{AuditAction, Conversation, ConversationHandle, Device, Message};
use samvad::store::{Belonging, BelongingSort, Load, Store};

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
    devices: u64,
    attachments: u64,
    marks: u64,
    files: Files,
}

/// What became of the bytes of attachments.
#[derive(Default)]
struct Files {
    copied: u64,
    missing: u64,
}

/// The folders of attached files, here and there, where both have one.
pub struct Folders {
    /// Where they are.
    pub from: PathBuf,
    /// Where they are to be.
    pub to: PathBuf,
}

/// Copies and compares. Errors: what could not be copied, or is not the same afterwards.
pub async fn copy(from: &Arc<dyn Store>, to: &Arc<dyn Store>, folders: Option<&Folders>) -> Result<(), String> {
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
            let (wanted, count) = sum_up(from, &conversation, vague).await.map_err(fail)?;
            let mut found = match &there {
                Some(there) => Some(sum_up(to, there, vague).await.map_err(fail)?),
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
                found = Some(sum_up(to, &there, vague).await.map_err(fail)?);
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
    for sort in BelongingSort::ALL {
        copy_belongings(from, to, sort, &mut tally, &mut sums).await.map_err(fail)?;
    }
    if let Some(folders) = folders {
        copy_files(from, folders, &mut tally.files).await?;
    }
    let [here, there] = sums.map(|sum| hex(sum.finish().as_ref()));
    println!(
        "{} conversations ({} copied now, the others were there), {} messages, {} calls, {} relations",
        tally.conversations, tally.copied, tally.messages, tally.calls, tally.relations
    );
    println!("{} devices, {} attachments, {} marks of when somebody looked or was seen", tally.devices, tally.attachments, tally.marks);
    let Files { copied, missing } = tally.files;
    match folders {
        Some(Folders { from, to }) => {
            println!("{copied} files of attachments copied now to {}; {missing} are not in {} either", to.display(), from.display())
        }
        None => println!("files of attachments stay where they are: serve the copy with the same DATA_DIR, or the same S3_ settings"),
    }
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
async fn sum_up(store: &Arc<dyn Store>, conversation: &Conversation, vague: bool) -> samvad::error::Result<(Vec<u8>, u64)> {
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

/// Devices, attachments and marks. What is the same there already is passed over.
async fn copy_belongings(
    from: &Arc<dyn Store>,
    to: &Arc<dyn Store>,
    sort: BelongingSort,
    tally: &mut Tally,
    [here, there]: &mut [Context; 2],
) -> samvad::error::Result<()> {
    let before = sums_of(to, sort).await?;
    let (mut after, mut wanted) = (None, Vec::new());
    loop {
        let page = from.walk_belongings(sort, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id());
        let count = page.len() as u64;
        match sort {
            BelongingSort::Devices => tally.devices += count,
            BelongingSort::Attachments => tally.attachments += count,
            BelongingSort::MissedSeen | BelongingSort::LastSeen => tally.marks += count,
        }
        wanted.extend(page.iter().map(|one| (one.id(), sum_of(one))));
        let differs = |one: &Belonging| before.get(&one.id()) != Some(&sum_of(one));
        to.put_belongings(page.into_iter().filter(differs).collect()).await?;
    }
    let found = sums_of(to, sort).await?;
    for (id, sum) in wanted {
        here.update(&sum);
        there.update(found.get(&id).map_or(b"missing", Vec::as_slice));
    }
    Ok(())
}

async fn sums_of(store: &Arc<dyn Store>, sort: BelongingSort) -> samvad::error::Result<HashMap<String, Vec<u8>>> {
    let (mut sums, mut after) = (HashMap::new(), None);
    loop {
        let page = store.walk_belongings(sort, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(sums) };
        after = Some(last.id());
        sums.extend(page.iter().map(|one| (one.id(), sum_of(one))));
    }
}

fn sum_of(one: &Belonging) -> Vec<u8> {
    let text = match one {
        Belonging::Device(Device { token, kind, owner, platform, registered_at }) => {
            format!("{token} {} {owner} {} {registered_at}", kind.as_str(), platform.as_str())
        }
        Belonging::Attachment(attachment, is_used) => format!("{attachment:?} {is_used}"),
        Belonging::MissedSeen(person, at) | Belonging::LastSeen(person, at) => format!("{person} {at}"),
    };
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}

/// The bytes of attachments that are ready, with their previews. A file is there whole or not at all.
async fn copy_files(store: &Arc<dyn Store>, folders: &Folders, files: &mut Files) -> Result<(), String> {
    let mut after = None;
    loop {
        let page = store.walk_belongings(BelongingSort::Attachments, after, PAGE).await.map_err(|e| e.to_string())?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id());
        for one in &page {
            if let Belonging::Attachment(attachment, _) = one
                && attachment.state == AttachmentState::Ready
            {
                for key in keys(attachment) {
                    copy_file(folders, &key, files).map_err(|e| format!("{key}: {e}"))?;
                }
            }
        }
    }
}

fn keys(attachment: &Attachment) -> impl Iterator<Item = String> {
    [Some(attachment.key()), attachment.pixels.map(|_| attachment.preview_key())].into_iter().flatten()
}

fn copy_file(Folders { from, to }: &Folders, key: &str, files: &mut Files) -> std::io::Result<()> {
    let (source, target) = (from.join(key), to.join(key));
    let size = |path: &Path| std::fs::metadata(path).map(|file| file.len()).ok();
    let Some(wanted) = size(&source) else {
        files.missing += u64::from(size(&target).is_none());
        return Ok(());
    };
    if size(&target) == Some(wanted) {
        return Ok(());
    }
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let part = target.with_extension("copy.part");
    std::fs::copy(&source, &part)?;
    std::fs::File::open(&part)?.sync_all()?;
    std::fs::rename(&part, &target)?;
    files.copied += 1;
    Ok(())
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
