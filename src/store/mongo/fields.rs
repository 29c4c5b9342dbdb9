//! Reading one stored document, field by field: several programs wrote it, none of them checked everything.
//!
//! Numbers are taken as int32, int64 or double; ids as text or ObjectId; `null` is the same as absent. Anything else that does not
//! fit is an error that names the document, because a message silently left out is worse than one that cannot be shown.

use bson::oid::ObjectId;
use bson::{Bson, Document};

use crate::error::{Error, Result};
use crate::models::{Participant, ParticipantKind, Timestamp};

/// A document and what to call it in an error.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    collection: &'static str,
    id: ObjectId,
    document: &'a Document,
}

impl<'a> Fields<'a> {
    /// A document of `collection`. Errors: `Internal` when its `_id` is no ObjectId.
    pub(super) fn of(collection: &'static str, document: &'a Document) -> Result<Self> {
        match document.get("_id") {
            Some(Bson::ObjectId(id)) => Ok(Self { collection, id: *id, document }),
            other => Err(Error::internal(format!("{collection}: a document has the _id {other:?}, expected an ObjectId"))),
        }
    }

    /// A document inside this one; errors name the outer one.
    pub(super) fn inner(self, document: &'a Document) -> Self {
        Self { document, ..self }
    }

    pub(super) fn id(self) -> [u8; 12] {
        self.id.bytes()
    }

    /// When the id was made: the last resort for a document without dates.
    pub(super) fn id_time(self) -> Timestamp {
        Timestamp::from_millis(self.id.timestamp().timestamp_millis())
    }

    /// The value, unless absent or `null`.
    pub(super) fn get(self, name: &str) -> Option<&'a Bson> {
        self.document.get(name).filter(|value| !matches!(value, Bson::Null | Bson::Undefined))
    }

    pub(super) fn wrong(self, name: &str, why: &str) -> Error {
        Error::internal(format!("{} {}: the field {name} {why}", self.collection, self.id))
    }

    /// A text, or the hex of an ObjectId.
    pub(super) fn find_text(self, name: &str) -> Result<Option<String>> {
        match self.get(name) {
            None => Ok(None),
            Some(Bson::String(text)) => Ok(Some(text.clone())),
            Some(Bson::ObjectId(id)) => Ok(Some(id.to_hex())),
            Some(_) => Err(self.wrong(name, "is no text")),
        }
    }

    /// The same, where an empty text says nothing.
    pub(super) fn find_filled(self, name: &str) -> Result<Option<String>> {
        Ok(self.find_text(name)?.filter(|text| !text.is_empty()))
    }

    pub(super) fn text(self, name: &str) -> Result<String> {
        self.find_text(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    /// The first of these fields that is a filled text: the dialects have different names for it.
    pub(super) fn first_filled(self, names: &[&str]) -> Result<Option<String>> {
        for name in names {
            if let Some(text) = self.find_filled(name)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// The bytes of an ObjectId, also when it is stored as its hex.
    pub(super) fn find_object_id(self, name: &str) -> Result<Option<[u8; 12]>> {
        match self.get(name) {
            None => Ok(None),
            Some(Bson::ObjectId(id)) => Ok(Some(id.bytes())),
            Some(Bson::String(text)) if text.is_empty() => Ok(None),
            Some(Bson::String(text)) => match ObjectId::parse_str(text) {
                Ok(id) => Ok(Some(id.bytes())),
                Err(_) => Err(self.wrong(name, "is no ObjectId")),
            },
            Some(_) => Err(self.wrong(name, "is no ObjectId")),
        }
    }

    pub(super) fn find_number(self, name: &str) -> Result<Option<f64>> {
        self.get(name).map(|value| number(value).ok_or_else(|| self.wrong(name, "is no number"))).transpose()
    }

    /// A number without its fraction.
    pub(super) fn find_whole(self, name: &str) -> Result<Option<i64>> {
        self.get(name).map(|value| whole(value).ok_or_else(|| self.wrong(name, "is no number"))).transpose()
    }

    pub(super) fn find_flag(self, name: &str) -> Result<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(Bson::Boolean(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(name, "is neither true nor false")),
        }
    }

    pub(super) fn find_date(self, name: &str) -> Result<Option<Timestamp>> {
        match self.get(name) {
            None => Ok(None),
            Some(Bson::DateTime(at)) => Ok(Some(Timestamp::from_millis(at.timestamp_millis()))),
            Some(Bson::String(text)) => Timestamp::parse(text).map(Some).ok_or_else(|| self.wrong(name, "is no date")),
            Some(_) => Err(self.wrong(name, "is no date")),
        }
    }

    pub(super) fn find_document(self, name: &str) -> Result<Option<Fields<'a>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Bson::Document(document)) => Ok(Some(self.inner(document))),
            Some(_) => Err(self.wrong(name, "is no document")),
        }
    }

    pub(super) fn entries(self) -> impl Iterator<Item = (&'a String, &'a Bson)> {
        self.document.iter()
    }

    /// The elements of an array; none when it is absent.
    pub(super) fn elements(self, name: &str) -> Result<&'a [Bson]> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Bson::Array(elements)) => Ok(elements),
            Some(_) => Err(self.wrong(name, "is no array")),
        }
    }

    /// The texts of an array.
    pub(super) fn texts(self, name: &str) -> Result<Vec<String>> {
        let text = |value: &Bson| match value {
            Bson::String(text) => Ok(text.clone()),
            Bson::ObjectId(id) => Ok(id.to_hex()),
            _ => Err(self.wrong(name, "holds something that is no text")),
        };
        self.elements(name)?.iter().map(text).collect()
    }

    pub(super) fn find_kind(self, name: &str) -> Result<Option<ParticipantKind>> {
        let Some(word) = self.find_filled(name)? else {
            return Ok(None);
        };
        ParticipantKind::parse(&word).map(Some).ok_or_else(|| self.wrong(name, "is no kind of participant"))
    }

    /// A person written as two fields.
    pub(super) fn participant(self, kind: &str, id: &str) -> Result<Participant> {
        let kind = self.find_kind(kind)?.ok_or_else(|| self.wrong(kind, "is missing"))?;
        Ok(Participant::stored(kind, self.text(id)?))
    }
}

fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(number) => Some(f64::from(*number)),
        #[expect(clippy::cast_precision_loss, reason = "seconds of a recording")]
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) if number.is_finite() => Some(*number),
        _ => None,
    }
}

/// A number of any type, without its fraction.
pub(super) fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and fractions are not wanted")]
        Bson::Double(number) if number.is_finite() => Some(*number as i64),
        _ => None,
    }
}

/// A number as the Node programs store it: whole ones as int32 where they fit, fractions as double.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
pub(super) fn stored_number(number: f64) -> Bson {
    if number.fract() == 0.0 && number.abs() < 9e15 { stored_whole(number as i64) } else { Bson::Double(number) }
}

/// A whole number as int32 where it fits.
pub(super) fn stored_whole(number: i64) -> Bson {
    i32::try_from(number).map_or(Bson::Int64(number), Bson::Int32)
}

/// Every way an id may be stored by another program: as text, and as ObjectId where it looks like one.
pub(super) fn id_forms(text: &str) -> Vec<Bson> {
    let object_id = ObjectId::parse_str(text).map(Bson::ObjectId);
    std::iter::once(Bson::String(text.to_owned())).chain(object_id).collect()
}

/// An id as ObjectId where it looks like one, else as text.
pub(super) fn stored_id(text: &str) -> Bson {
    ObjectId::parse_str(text).map_or_else(|_| Bson::String(text.to_owned()), Bson::ObjectId)
}
