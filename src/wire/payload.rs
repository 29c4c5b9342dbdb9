//! The first argument of an event, read field by field with the tolerance the contract asks for.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::models::MessageId;
use crate::models::Timestamp;
use crate::services::conversations::message_id;

/// A JSON object a client sent.
pub struct Payload {
    fields: Map<String, Value>,
    /// Every name a parser looked for, so that a test can compare them with what is documented.
    #[cfg(test)]
    pub(super) asked: std::sync::Mutex<std::collections::BTreeSet<String>>,
}

impl Payload {
    /// Reads the first argument. Errors: `INVALID_PAYLOAD` if it is missing or not an object.
    pub fn parse(argument: Option<&RawValue>) -> Result<Self> {
        let object = argument.and_then(|raw| serde_json::from_str(raw.get()).ok());
        object.map(Self::new).ok_or_else(|| Error::invalid("the first argument must be an object"))
    }

    /// From a value that is already parsed. Errors: as [`Payload::parse`].
    pub fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::Object(object) => Ok(Self::new(object)),
            _ => Err(Error::invalid("the payload must be an object")),
        }
    }

    fn new(fields: Map<String, Value>) -> Self {
        Self {
            fields,
            #[cfg(test)]
            asked: std::sync::Mutex::default(),
        }
    }

    fn note(&self, _names: &[&str]) {
        #[cfg(test)]
        self.asked.lock().expect("no test panics here").extend(_names.iter().map(|name| (*name).to_owned()));
    }

    /// The first of several names that is there and not null.
    fn any(&self, names: &[&str]) -> Option<(&Value, String)> {
        self.note(names);
        names.iter().find_map(|name| self.fields.get(*name).filter(|v| !v.is_null()).map(|v| (v, (*name).to_owned())))
    }

    /// A text, under the first name that is there. An empty text counts as missing. Errors: it is something else than text.
    pub fn text(&self, names: &[&str]) -> Result<Option<&str>> {
        match self.any(names) {
            None => Ok(None),
            Some((Value::String(text), _)) => Ok(Some(text.as_str()).filter(|t| !t.is_empty())),
            Some((_, name)) => Err(Error::invalid(format!("{name} must be text"))),
        }
    }

    /// A text that must be there.
    pub fn require_text(&self, names: &[&str]) -> Result<&str> {
        self.text(names)?.ok_or_else(|| Error::invalid(format!("{} is required", names[0])))
    }

    /// A whole number of at least `least`, also written as text.
    pub fn number(&self, names: &[&str], least: u64) -> Result<Option<u64>> {
        let Some((value, name)) = self.any(names) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_u64().or_else(|| number.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(whole)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|n| *n >= least).map(Some).ok_or_else(|| Error::invalid(format!("{name} must be a whole number of at least {least}")))
    }

    /// Any number that is finite.
    pub fn decimal(&self, name: &str) -> Result<Option<f64>> {
        let Some((value, name)) = self.any(&[name]) else { return Ok(None) };
        value.as_f64().filter(|n| n.is_finite()).map(Some).ok_or_else(|| Error::invalid(format!("{name} must be a number")))
    }

    /// Whole seconds, from a number of any form or its text; whatever else is there counts as missing.
    pub fn lenient_seconds(&self, name: &str) -> Option<u64> {
        self.note(&[name]);
        let number = match self.fields.get(name)? {
            Value::Number(number) => number.as_f64()?,
            Value::String(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        (number.is_finite() && number >= 0.0).then(|| whole(number.floor()))
    }

    /// True, false, or missing.
    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.any(&[name]) {
            None => Ok(None),
            Some((Value::Bool(flag), _)) => Ok(Some(*flag)),
            // A query has only texts.
            Some((Value::String(text), _)) if text == "true" || text == "false" => Ok(Some(text == "true")),
            Some((_, name)) => Err(Error::invalid(format!("{name} must be true or false"))),
        }
    }

    /// A list of texts, or one text alone; `None` if missing or an empty list.
    pub fn texts(&self, names: &[&str]) -> Result<Option<Vec<&str>>> {
        let Some((value, name)) = self.any(names) else { return Ok(None) };
        let texts = match value {
            Value::String(text) if text.is_empty() => return Ok(None),
            Value::String(text) => vec![text.as_str()],
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
            _ => return Err(Error::invalid(format!("{name} must be a list of ids"))),
        };
        let is_empty = matches!(value, Value::Array(items) if items.is_empty());
        Ok((!is_empty).then_some(texts))
    }

    /// A message id. Errors: `INVALID_ID`.
    pub fn message_id(&self, names: &[&str]) -> Result<Option<MessageId>> {
        self.text(names)?.map(message_id).transpose()
    }

    /// A time: ISO text, or milliseconds since the epoch.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        let Some((value, name)) = self.any(&[name]) else { return Ok(None) };
        let time = match value {
            Value::String(text) => Timestamp::parse(text),
            Value::Number(number) => number.as_i64().map(Timestamp::from_millis),
            _ => None,
        };
        time.map(Some).ok_or_else(|| Error::invalid(format!("{name} must be an ISO time")))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "called for whole numbers that are not negative; too large ones saturate"
)]
fn whole(number: f64) -> u64 {
    number as u64
}
