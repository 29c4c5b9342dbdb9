//! Who is told outside of the sockets: phones by Google and Apple, and a webhook.

use super::reader::Reader;
use super::values::outside_url;

/// Who we are to Firebase, and where it is.
#[derive(Clone)]
pub struct Firebase {
    /// The project.
    pub project_id: String,
    /// The service account.
    pub client_email: String,
    /// Which of its keys this is.
    pub key_id: Option<String>,
    /// The key.
    pub key: jsonwebtoken::EncodingKey,
    /// `GOOGLE_TOKEN_URL`, or what the account says.
    pub token_url: reqwest::Url,
    /// `FCM_URL`.
    pub url: reqwest::Url,
}

/// Who we are to Apple's push service, and where it is.
#[derive(Clone)]
pub struct ApplePush {
    /// The key of `APNS_KEY_FILE`.
    pub key: jsonwebtoken::EncodingKey,
    /// `APNS_KEY_ID`.
    pub key_id: String,
    /// `APNS_TEAM_ID`.
    pub team_id: String,
    /// `APNS_BUNDLE_ID`.
    pub bundle_id: String,
    /// `APNS_URL`.
    pub url: reqwest::Url,
}

/// Of which messages phones are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushMessages {
    /// Of all.
    Always,
    /// Not if the recipient has the conversation open.
    NotInRoom,
    /// Only if the recipient has no socket.
    Offline,
}

/// Who is told outside of the sockets. Has no `Debug`: there are keys inside.
#[derive(Clone)]
pub struct PushConfig {
    /// `PUSH_MESSAGES`.
    pub messages: PushMessages,
    /// `FIREBASE_*`.
    pub firebase: Option<Firebase>,
    /// `APNS_*`.
    pub apple: Option<ApplePush>,
    /// `WEBHOOK_URL` and `WEBHOOK_SECRET`.
    pub webhook: Option<(reqwest::Url, String)>,
}

impl Reader<'_> {
    pub(super) fn push(&mut self) -> PushConfig {
        let messages = self.value("PUSH_MESSAGES", "always, not_in_room or offline", |t| match t {
            "always" => Some(PushMessages::Always),
            "not_in_room" => Some(PushMessages::NotInRoom),
            "offline" => Some(PushMessages::Offline),
            _ => None,
        });
        let webhook = match (self.raw.get("WEBHOOK_URL").is_some(), self.secret("WEBHOOK_SECRET")) {
            (true, Some(secret)) => self.outside_url("WEBHOOK_URL").map(|url| (url, secret)),
            (true, None) => {
                self.mistakes.push("WEBHOOK_SECRET must be set when WEBHOOK_URL is: receivers could believe nobody".into());
                None
            }
            (false, _) => None,
        };
        let messages = messages.unwrap_or(PushMessages::Always);
        PushConfig { messages, firebase: self.firebase(), apple: self.apple(), webhook }
    }

    /// The service account in any of its forms; the first that is set counts, and two are a mistake.
    pub(super) fn firebase(&mut self) -> Option<Firebase> {
        const FORMS: [&str; 4] =
            ["FIREBASE_SERVICE_ACCOUNT_FILE", "FIREBASE_SERVICE_ACCOUNT_JSON", "FIREBASE_SERVICE_ACCOUNT_BASE64", "FIREBASE_PRIVATE_KEY"];
        let set: Vec<&str> = FORMS.into_iter().filter(|name| self.raw.get(name).is_some()).collect();
        let [form] = set[..] else {
            if set.len() > 1 {
                self.mistakes.push(format!("{} must not be set together: one service account sends", set.join(" and ")));
            }
            return None;
        };
        // Never the value itself: it is, or stands for, a key.
        let given = self.raw.get(form).unwrap_or_default().to_owned();
        let account = match form {
            "FIREBASE_SERVICE_ACCOUNT_FILE" => {
                std::fs::read_to_string(&given).map_err(|e| e.to_string()).and_then(|text| service_account(&text))
            }
            "FIREBASE_SERVICE_ACCOUNT_JSON" => service_account(&given),
            "FIREBASE_SERVICE_ACCOUNT_BASE64" => {
                use base64::Engine as _;
                let text: String = given.split_whitespace().collect();
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| "is not base64".to_owned());
                bytes.and_then(|bytes| service_account(&String::from_utf8_lossy(&bytes)))
            }
            _ => {
                let named = |name: &str| self.raw.get(name).map(str::to_owned).ok_or_else(|| format!("needs {name} beside it"));
                named("FIREBASE_PROJECT_ID").and_then(|project_id| {
                    Ok(Account {
                        project_id,
                        client_email: named("FIREBASE_CLIENT_EMAIL")?,
                        private_key: given,
                        private_key_id: None,
                        token_uri: None,
                    })
                })
            }
        };
        let account = account.and_then(|account| Ok((rsa_key(&account.private_key)?, account)));
        let (key, account) = match account {
            Ok(account) => account,
            Err(why) => {
                self.mistakes.push(format!("{form} {why}"));
                return None;
            }
        };
        let names_a_project =
            !account.project_id.is_empty() && account.project_id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
        if !names_a_project {
            self.mistakes.push(format!("{form} names no project"));
        }
        let token_url = match self.raw.get("GOOGLE_TOKEN_URL") {
            Some(_) => self.outside_url("GOOGLE_TOKEN_URL"),
            None => {
                let stated = account.token_uri.as_deref().unwrap_or("https://oauth2.googleapis.com/token");
                let url = outside_url(stated);
                if url.is_none() {
                    self.mistakes.push(format!("{form}: token_uri must be https"));
                }
                url
            }
        };
        let url = self.outside_url("FCM_URL");
        let Account { project_id, client_email, private_key_id, .. } = account;
        Some(Firebase { project_id, client_email, key_id: private_key_id, key, token_url: token_url?, url: url? })
    }

    pub(super) fn apple(&mut self) -> Option<ApplePush> {
        const ALL: [&str; 4] = ["APNS_KEY_FILE", "APNS_KEY_ID", "APNS_TEAM_ID", "APNS_BUNDLE_ID"];
        let missing: Vec<&str> = ALL.into_iter().filter(|name| self.raw.get(name).is_none()).collect();
        if missing.len() == ALL.len() {
            return None;
        }
        if !missing.is_empty() {
            self.mistakes.push(format!("{} must be set too: the APNS_ settings belong together", missing.join(" and ")));
            return None;
        }
        let url = self.outside_url("APNS_URL");
        let [file, key_id, team_id, bundle_id] = ALL.map(|name| self.text(name));
        let key = std::fs::read(&file).map_err(|e| e.to_string());
        let key = key.and_then(|pem| jsonwebtoken::EncodingKey::from_ec_pem(&pem).map_err(|_| "holds no P-256 key as PEM".into()));
        match key {
            Ok(key) => Some(ApplePush { key, key_id, team_id, bundle_id, url: url? }),
            Err(why) => {
                self.mistakes.push(format!("APNS_KEY_FILE {why}"));
                None
            }
        }
    }
}

/// A service account as Google writes it down.
#[derive(serde::Deserialize)]
struct Account {
    project_id: String,
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

/// Errors: what is wrong, without showing any of it.
fn service_account(text: &str) -> Result<Account, String> {
    serde_json::from_str(text).map_err(|_| "holds no JSON with project_id, client_email and private_key".to_owned())
}

/// A key as environments keep it: in quotes, with its line ends written out. Errors: it is none.
fn rsa_key(text: &str) -> Result<jsonwebtoken::EncodingKey, String> {
    let pem = text.trim().trim_matches(['"', '\'']).replace("\\n", "\n");
    jsonwebtoken::EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| "holds no RSA key as PEM".to_owned())
}
