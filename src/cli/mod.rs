//! Commands of the program.

mod backup;
mod check;
mod copy;
mod demo;
mod person;
mod traces;
mod verify;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use tracing::info;

use samvad::app::{App, attachment_files, relation_check};
use samvad::auth::{RefreshPace, Verifier};
use samvad::config::{Config, Raw, StoreConfig, duration, env_example};
use samvad::contract;
use samvad::models::{AuditAction, Participant, ParticipantKind, Timestamp};
use samvad::observability;
use samvad::server::Server;
use samvad::services::relations::RelationCheck;
use samvad::store::Store;
use samvad::store::mongo::MongoStore;
use samvad::store::sqlite::SqliteStore;

/// Realtime messaging and calling server, compatible with Socket.IO. Without a command it serves; see .env.example for settings.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (the default).
    Serve,
    /// Print a token for a person, signed with the server's secret. Not with JWT_PUBLIC_KEY or JWKS_URL: there is no secret then.
    Token {
        /// Id: letters, digits, _ and -, at most 64.
        #[arg(long)]
        id: String,
        /// admin, astrologer or user.
        #[arg(long = "type")]
        kind: String,
        /// Display name.
        #[arg(long)]
        name: Option<String>,
        /// How long it is valid, like 30m or 8h.
        #[arg(long, default_value = "8h")]
        ttl: String,
    },
    /// Print the audit trail, newest first: what admins looked at and changed. On the embedded store the server must be stopped.
    Audit {
        /// At most this many entries.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Only of this kind: read, delete, revoke, relate or refused_key.
        #[arg(long)]
        action: Option<String>,
    },
    /// Events the webhook did not take within a day. On the embedded store the server must be stopped.
    Webhooks {
        #[command(subcommand)]
        command: Webhooks,
    },
    /// Try out everything a start needs: address, store, Redis, keys, Agora credentials. Fails if something is wrong.
    Check,
    /// Copy the embedded store into a file while the server runs, and check the copy.
    Backup {
        /// The file to be made; one that is there is not replaced.
        file: PathBuf,
    },
    /// Count again what conversations say of their messages (unread, latest). Fails if something is wrong. On the embedded store the
    /// server must be stopped.
    Verify {
        /// Put right what is wrong.
        #[arg(long)]
        repair: bool,
    },
    /// Copy everything people have (conversations, messages, calls, relations, devices, attachments), revocations and the audit trail
    /// into another store, and compare. Begun anew it goes on where it was. Nothing else may write to either meanwhile.
    Copy {
        /// A folder for the embedded store, or mongodb://host/database.
        #[arg(long)]
        to: String,
    },
    /// Print everything that is stored of one person as JSON lines.
    Export {
        /// astrologer or user.
        #[arg(long = "type")]
        kind: String,
        /// His id.
        #[arg(long)]
        id: String,
        /// Write to this new file instead.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Erase one person's words, files, names, pictures and devices. Others keep what they wrote, and the conversation; his id stays in it.
    Erase {
        /// astrologer or user.
        #[arg(long = "type")]
        kind: String,
        /// His id.
        #[arg(long)]
        id: String,
        /// Yes, really: there is no way back.
        #[arg(long)]
        yes: bool,
    },
    /// Put sample conversations and a call into an empty store, for the people of the demo tokens.
    Demo,
    /// Print what travels between apps and the server, for programs: the document behind /openapi.json or /asyncapi.json.
    Contract {
        /// Routes, or events.
        #[arg(value_enum)]
        document: Document,
    },
    /// Print every setting with its value and where it comes from; secrets are masked.
    Config {
        /// Print the text of .env.example instead.
        #[arg(long)]
        example: bool,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Document {
    Openapi,
    Asyncapi,
}

#[derive(Subcommand)]
enum Webhooks {
    /// Print those that were given up, oldest first, each with its id and why.
    List {
        /// At most this many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Let those that were given up be sent again, for another day.
    Replay {
        /// Only the one with this id.
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All of them.
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

impl Cli {
    /// Carries out the command. Errors: a text for the person who typed it.
    pub fn run(self) -> Result<(), String> {
        if let Some(Command::Config { example: true }) = self.command {
            print!("{}", env_example());
            return Ok(());
        }
        let raw = Raw::from_environment().map_err(|e| e.to_string())?;
        let parsed = Config::parse(&raw).map_err(|e| e.to_string());
        match self.command {
            Some(Command::Config { .. }) => {
                print!("{}", raw.describe());
                parsed.map(drop)
            }
            Some(Command::Contract { document }) => {
                let text = match document {
                    Document::Openapi => contract::openapi(),
                    Document::Asyncapi => contract::asyncapi(),
                };
                print!("{text}");
                Ok(())
            }
            Some(Command::Token { id, kind, name, ttl }) => {
                let token = token(&verifier(&parsed?)?, &id, &kind, name.as_deref(), &ttl)?;
                println!("{token}");
                Ok(())
            }
            Some(Command::Audit { limit, action }) => audit(&parsed?, action.as_deref(), limit),
            Some(Command::Webhooks { command }) => webhooks(&parsed?, command),
            Some(Command::Check) => run(check::check(&parsed?)),
            Some(Command::Backup { file }) => backup::backup(&parsed?, &file),
            Some(Command::Verify { repair }) => with_store(&parsed?, async |store| verify::verify(&**store, repair).await),
            Some(Command::Copy { to }) => copy(&parsed?, &to),
            Some(Command::Export { kind, id, file }) => {
                let person = person::person(&kind, &id)?;
                with_store(&parsed?, async |store| person::export(&**store, &person, file.as_deref()).await)
            }
            Some(Command::Erase { yes: false, .. }) => Err("there is no way back: add --yes, after samvad export".into()),
            Some(Command::Erase { kind, id, .. }) => {
                let person = person::person(&kind, &id)?;
                let config = parsed?;
                let files = attachment_files(&config);
                with_store(&config, async |store| person::erase(&**store, files.as_ref(), &person).await)
            }
            Some(Command::Demo) => with_store(&parsed?, async |store| demo::demo(&**store).await),
            Some(Command::Serve) | None => serve(&parsed?),
        }
    }
}

fn verifier(config: &Config) -> Result<Verifier, String> {
    Verifier::from_config(config, RefreshPace::default()).map_err(|e| e.to_string())
}

fn token(verifier: &Verifier, id: &str, kind: &str, name: Option<&str>, ttl: &str) -> Result<String, String> {
    let kind = ParticipantKind::parse(kind).ok_or("--type must be admin, astrologer or user")?;
    let person =
        Participant::new(kind, id).ok_or("--id must be letters, digits, _ and -, at most 64; the id admin is for --type admin only")?;
    let ttl = duration(ttl).ok_or("--ttl must be a duration like 30m or 8h")?;
    verifier.mint(&person, name, ttl).map_err(|e| e.to_string())
}

fn audit(config: &Config, action: Option<&str>, limit: usize) -> Result<(), String> {
    let action = match action {
        None => None,
        Some(word) => Some(AuditAction::parse(word).ok_or("--action must be read, delete, revoke, relate or refused_key")?),
    };
    with_store(config, async |store| {
        let entries = store.audit_trail(action, None, limit).await.map_err(|e| e.to_string())?;
        for entry in entries {
            let detail = entry.detail.map(|detail| format!("  {detail}")).unwrap_or_default();
            println!("{}  {:<11}  {}  {}{detail}", entry.at, entry.action.as_str(), entry.actor, entry.subject);
        }
        Ok(())
    })
}

fn webhooks(config: &Config, command: Webhooks) -> Result<(), String> {
    with_store(config, async |store| match command {
        Webhooks::List { limit } => {
            for entry in store.dead_outbox(limit).await.map_err(|e| e.to_string())? {
                println!("{}  {}  {}", entry.created_at, entry.id, entry.problem.unwrap_or_default());
            }
            Ok(())
        }
        Webhooks::Replay { id, .. } => {
            // MongoDB is prepared in the background; until then it takes no changes.
            let wait = async {
                while store.check_writable().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), wait).await.map_err(|_| "the store takes no changes".to_owned())?;
            let now = Timestamp::now();
            let count = store.revive_outbox(id.as_deref(), now, now.plus(REPLAYED_FOR)).await.map_err(|e| e.to_string())?;
            println!("{count} will be sent again");
            Ok(())
        }
    })
}

fn copy(config: &Config, to: &str) -> Result<(), String> {
    let to = copy::destination(to)?;
    if to == config.store {
        return Err("the store would be copied into itself".into());
    }
    // A database says nothing of files; whoever serves it finds them where the settings of that server say.
    let folders = match &to {
        StoreConfig::Embedded(folder) if config.attachments.bucket.is_none() => {
            Some(copy::Folders { from: config.attachments.folder.clone(), to: folder.join("media") })
        }
        _ => None,
    };
    let folders = folders.filter(|folders| folders.from != folders.to);
    with_store(config, async |from| {
        let to = open_store(&to).await?;
        let outcome = copy::copy(from, &to, folders.as_ref()).await;
        to.close().await;
        outcome
    })
}

/// Runs one small thing to its end.
fn run(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("no runtime: {e}"))?;
    runtime.block_on(work)
}

/// The same with the store of the settings, which is closed afterwards.
fn with_store(config: &Config, work: impl AsyncFnOnce(&Arc<dyn Store>) -> Result<(), String>) -> Result<(), String> {
    run(async {
        let store = open_store(&config.store).await?;
        let outcome = work(&store).await;
        store.close().await;
        outcome
    })
}

async fn open_store(store: &StoreConfig) -> Result<Arc<dyn Store>, String> {
    Ok(match store {
        StoreConfig::Embedded(folder) => Arc::new(SqliteStore::open(folder).map_err(|e| e.to_string())?),
        StoreConfig::Mongo { uri, database } => Arc::new(MongoStore::connect(uri, database).await.map_err(|e| e.to_string())?),
    })
}

fn serve(config: &Config) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| format!("no runtime: {e}"))?;
    let traces = runtime.block_on(async { traces::start(config.traces.as_ref()) })?;
    observability::start(&config.log_filter, config.log_format, traces.listener())?;
    traces.say_where_they_go();
    let served = runtime.block_on(async {
        let verifier = verifier(config)?;
        let store = open_store(&config.store).await?;
        match relation_check(config) {
            RelationCheck::On => {
                info!("relations are checked: user and astrologer reach each other only if they have dealt with each other")
            }
            RelationCheck::OnceNoted => info!("relations are checked once one was noted (POST /api/admin/relations)"),
            RelationCheck::Off => info!("relations are not checked"),
        }
        if config.agora.is_none() {
            info!("AGORA_APP_ID is not set: calls ring and are logged, but carry no media tokens");
        }
        let address = SocketAddr::new(config.host, config.port);
        let app = App::new(config, verifier.clone(), store);
        let server = Server::bind(app, address).await.map_err(|e| format!("{address} cannot be listened on: {e}"))?;
        print!("{}", greeting(config, &verifier, server.address())?);
        // As a task: this thread is none of the runtime's workers, so each new connection would wake it, and it one of them.
        tokio::spawn(server.run(stop_signal()?)).await.map_err(|e| format!("the server did not end in order: {e}"))
    });
    // While the runtime still carries what they are sent with.
    traces.end();
    served
}

/// Cancelled by SIGTERM or Ctrl-C.
fn stop_signal() -> Result<CancellationToken, String> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| format!("no signals: {e}"))?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        stopped.cancel();
    });
    Ok(stop)
}

/// What somebody who just started the server does next.
fn greeting(config: &Config, verifier: &Verifier, address: SocketAddr) -> Result<String, String> {
    let kept_in = match &config.store {
        StoreConfig::Embedded(folder) => folder.join("samvad.db").display().to_string(),
        StoreConfig::Mongo { database, .. } => format!("MongoDB, database {database}"),
    };
    let url = format!("http://{address}");
    let mut text = format!("\nSamvad listens on {url} and keeps messages in {kept_in}.\n");
    if config.console {
        text += &format!("Try and watch it in a browser: {url}/console\n");
    }
    if !config.offer_demo {
        return Ok(text);
    }
    if !verifier.can_mint() {
        text += "\nNo demo tokens: with JWT_PUBLIC_KEY or JWKS_URL this server only checks tokens, and makes none.\n\n";
        return Ok(text);
    }
    let people = verifier.demo_people().map_err(|e| format!("the demo tokens cannot be signed: {e}"))?;
    let token = |kind| people.iter().find(|person| person.kind == kind).map_or("", |person| person.token.as_str());
    let user = token(ParticipantKind::User);
    let tokens: String = people.iter().map(|person| format!("  {:<10}  {}\n", person.kind.as_str(), person.token)).collect();
    text += &format!(
        "
Demo tokens, valid for a day (for others: samvad token --help):
{tokens}
Send a first message from the user to the astrologer (npm install socket.io-client, then node):
  const socket = require('socket.io-client')('{url}', {{ auth: {{ token: '{user}' }} }});
  socket.on('connected', () => socket.emit('dm:send_message',
    {{ recipientId: 'demo-astrologer', recipientType: 'astrologer', content: 'Namaste' }}, console.log));

"
    );
    Ok(text)
}

/// How long what is sent again is tried.
const REPLAYED_FOR: Duration = Duration::from_secs(24 * 3600);
