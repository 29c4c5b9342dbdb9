//! Values as they are written, before they are understood: the only file that looks at the environment.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::path::Path;

use super::settings::SETTINGS;

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file `.env` in the working folder.
    EnvFile,
    /// The environment of the process, which wins over the file.
    Environment,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::EnvFile => ".env",
            Self::Environment => "environment",
        })
    }
}

/// Text values by name, before they are understood.
#[derive(Clone, Default)]
pub struct Raw(HashMap<String, (String, Origin)>);

impl Raw {
    /// Reads `.env` of the working folder, then the environment. Empty values count as unset.
    ///
    /// Errors: the file exists but cannot be read or parsed.
    pub fn from_environment() -> Result<Self, Mistakes> {
        let mut values = HashMap::new();
        match dotenvy::from_path_iter(Path::new(".env")) {
            Ok(lines) => {
                let mut before = "the start".to_owned();
                for line in lines {
                    let (name, value) = line.map_err(|e| Mistakes(vec![unreadable_line(&e, &before)]))?;
                    before.clone_from(&name);
                    values.insert(name, (value, Origin::EnvFile));
                }
            }
            Err(e) if e.not_found() => {}
            Err(e) => return Err(Mistakes(vec![format!(".env: {e}")])),
        }
        for setting in SETTINGS {
            match std::env::var(setting.name) {
                Ok(value) => drop(values.insert(setting.name.to_owned(), (value, Origin::Environment))),
                Err(std::env::VarError::NotPresent) => {}
                // Without the value: it may be a secret.
                Err(std::env::VarError::NotUnicode(_)) => return Err(Mistakes(vec![format!("{} is not Unicode text", setting.name)])),
            }
        }
        values.retain(|_, (value, _)| !value.trim().is_empty());
        Ok(Self(values))
    }

    /// From given pairs, for tests and embedding.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let entry = |(name, value): (&str, &str)| (name.to_owned(), (value.to_owned(), Origin::Environment));
        Self(pairs.into_iter().map(entry).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(value, _)| value.trim())
    }

    /// Every setting with its value and where it came from; secrets are masked.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for setting in SETTINGS {
            let (value, origin) = match self.0.get(setting.name) {
                Some((value, origin)) if setting.secret || hides_a_secret(value) => ("********", *origin),
                Some((value, origin)) => (value.as_str(), *origin),
                None if setting.default.is_empty() => ("(unset)", Origin::Default),
                None => (setting.default, Origin::Default),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<28}{value:<28}({origin})", setting.name);
        }
        text
    }
}

/// Everything wrong with the settings, reported at once.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the settings need attention:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  - {line}"))
    }
}

impl std::error::Error for Mistakes {}

/// What is wrong with `.env`. The library would show the value, which may be a secret, and does not know the name.
pub(super) fn unreadable_line(error: &dotenvy::Error, before: &str) -> String {
    match error {
        dotenvy::Error::LineParse(..) => format!(".env: the setting after {before} cannot be read; put its value into single quotes"),
        other => format!(".env: {other}"),
    }
}

/// Whether somebody put a secret where none belongs: a private key in place of its file, a password into an address.
fn hides_a_secret(value: &str) -> bool {
    value.contains("PRIVATE KEY") || (value.contains("://") && value.contains('@'))
}
