//! Commands of the program.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use tracing::info;

use samvad::app::{App, relation_check};
use samvad::auth::{RefreshPace, Verifier};
use samvad::config::{Config, Raw, StoreConfig, duration, env_example};
use samvad::models::{AuditAction, Participant, ParticipantKind};
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
    /// Print every setting with its value and where it comes from; secrets are masked.
    Config {
        /// Print the text of .env.example instead.
        #[arg(long)]
        example: bool,
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
            Some(Command::Token { id, kind, name, ttl }) => {
                let token = token(&verifier(&parsed?)?, &id, &kind, name.as_deref(), &ttl)?;
                println!("{token}");
                Ok(())
            }
            Some(Command::Audit { limit, action }) => audit(&parsed?, action.as_deref(), limit),
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("no runtime: {e}"))?;
    runtime.block_on(async {
        let store = open_store(config).await?;
        let entries = store.audit_trail(action, None, limit).await.map_err(|e| e.to_string())?;
        for entry in entries {
            let detail = entry.detail.map(|detail| format!("  {detail}")).unwrap_or_default();
            println!("{}  {:<11}  {}  {}{detail}", entry.at, entry.action.as_str(), entry.actor, entry.subject);
        }
        store.close().await;
        Ok(())
    })
}

async fn open_store(config: &Config) -> Result<Arc<dyn Store>, String> {
    Ok(match &config.store {
        StoreConfig::Embedded(folder) => Arc::new(SqliteStore::open(folder).map_err(|e| e.to_string())?),
        StoreConfig::Mongo { uri, database } => Arc::new(MongoStore::connect(uri, database).await.map_err(|e| e.to_string())?),
    })
}

fn serve(config: &Config) -> Result<(), String> {
    observability::start(&config.log_filter, config.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| format!("no runtime: {e}"))?;
    runtime.block_on(async {
        let verifier = verifier(config)?;
        let store = open_store(config).await?;
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
        server.run(stop_signal()?).await;
        Ok(())
    })
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
    if !config.offer_demo {
        return Ok(text);
    }
    if !verifier.can_mint() {
        text += "\nNo demo tokens: with JWT_PUBLIC_KEY or JWKS_URL this server only checks tokens, and makes none.\n\n";
        return Ok(text);
    }
    let demo = |kind: ParticipantKind, name: &str| {
        let person = Participant::new(kind, &format!("demo-{kind}")).ok_or("a demo id is not legal")?;
        verifier.mint(&person, Some(name), DEMO_TTL).map_err(|e| format!("the demo token cannot be signed: {e}"))
    };
    let (admin, astrologer, user) = (
        demo(ParticipantKind::Admin, "Demo admin")?,
        demo(ParticipantKind::Astrologer, "Demo astrologer")?,
        demo(ParticipantKind::User, "Demo user")?,
    );
    text += &format!(
        "
Demo tokens, valid for a day (for others: samvad token --help):
  admin       {admin}
  astrologer  {astrologer}
  user        {user}

Send a first message from the user to the astrologer (npm install socket.io-client, then node):
  const socket = require('socket.io-client')('{url}', {{ auth: {{ token: '{user}' }} }});
  socket.on('connected', () => socket.emit('dm:send_message',
    {{ recipientId: 'demo-astrologer', recipientType: 'astrologer', content: 'Namaste' }}, console.log));

"
    );
    Ok(text)
}

const DEMO_TTL: Duration = Duration::from_secs(24 * 3600);
