//! Reads one value at a time, and collects what is wrong, so that all mistakes are reported at once.
//!
//! What belongs to one subject is read in the file of that subject.

use std::time::Duration;

use super::raw::Raw;
use super::settings::SETTINGS;
use super::{MIN_SECRET_LEN, values};

pub(super) struct Reader<'a> {
    pub raw: &'a Raw,
    pub mistakes: Vec<String>,
}

impl Reader<'_> {
    pub fn text(&self, name: &str) -> String {
        let default = SETTINGS.iter().find(|s| s.name == name).map_or("", |s| s.default);
        self.raw.get(name).unwrap_or(default).to_owned()
    }

    pub fn value<T>(&mut self, name: &str, wanted: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name);
        let value = parse(&text);
        if value.is_none() {
            self.mistakes.push(format!("{name} must be {wanted}, not \"{text}\""));
        }
        value
    }

    pub fn switch(&mut self, name: &str) -> bool {
        let parse = |text: &str| match text {
            "on" | "true" | "1" | "yes" => Some(true),
            "off" | "false" | "0" | "no" => Some(false),
            _ => None,
        };
        self.value(name, "on or off", parse).unwrap_or_default()
    }

    /// A switch that decides by itself, which is `None`, unless somebody decided.
    pub fn automatic(&mut self, name: &str) -> Option<bool> {
        let parse = |text: &str| match text {
            "auto" => Some(None),
            "on" | "true" | "1" | "yes" => Some(Some(true)),
            "off" | "false" | "0" | "no" => Some(Some(false)),
            _ => None,
        };
        self.value(name, "auto, on or off", parse).flatten()
    }

    pub fn seconds(&mut self, name: &str, most: u64) -> Duration {
        let parse = |text: &str| text.parse().ok().filter(|seconds| (1..=most).contains(seconds));
        Duration::from_secs(self.value(name, &format!("whole seconds from 1 to {most}"), parse).unwrap_or(1))
    }

    pub fn limit(&mut self, name: &str) -> Option<u32> {
        self.raw.get(name)?;
        let parse = |text: &str| text.parse().ok().filter(|count| (1..=1_000_000).contains(count));
        self.value(name, "a whole number from 1 to 1000000", parse)
    }

    /// A number from `least` to a million.
    pub fn count<T: TryFrom<u32> + Default>(&mut self, name: &str, least: u32) -> T {
        let parse = |text: &str| text.parse().ok().filter(|count| (least..=1_000_000).contains(count));
        let count = self.value(name, &format!("a whole number from {least} to 1000000"), parse);
        count.and_then(|count| count.try_into().ok()).unwrap_or_default()
    }

    pub fn outside_url(&mut self, name: &str) -> Option<reqwest::Url> {
        let text = self.text(name);
        let url = values::outside_url(&text);
        if url.is_none() {
            // Without the value, which may hold a password.
            self.mistakes
                .push(format!("{name} must be like https://host/path, without user and password; http to a loopback address only"));
        }
        url
    }

    pub fn secret(&mut self, name: &str) -> Option<String> {
        let text = self.raw.get(name)?;
        if text.len() < MIN_SECRET_LEN {
            self.mistakes.push(format!("{name} must have at least {MIN_SECRET_LEN} characters; it has {}", text.chars().count()));
        }
        Some(text.to_owned())
    }
}
