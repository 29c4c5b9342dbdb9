//! Reading one stored document, field by field: several programs wrote it, none of them checked everything.
//!
//! Numbers are taken as int32, int64 or double; ids as text or ObjectId; `null` is the same as absent. Anything else that does not
//! fit is an error that names the document, because a message silently left out is worse than one that cannot be shown.

use std::borrow::Cow;

use bson::oid::ObjectId;
use bson::{Bson, Document, RawBsonRef, RawDocument};

use crate::error::{Error, Result};
use crate::models::{Participant, ParticipantKind, Timestamp};

/// A document and what to call it in an error.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    collection: &'static str,
    id: ObjectId,
    document: Source<'a>,
}

/// Pages of history are read as they came, without a tree of every document first.
#[derive(Clone, Copy)]
enum Source<'a> {
    Parsed(&'a Document),
    Raw(&'a [RawField<'a>]),
}

/// A field of a document in bytes.
pub(super) type RawField<'a> = (&'a str, RawBsonRef<'a>);

/// The fields of a document in bytes, to be handed to [`Fields::of_raw`]. Errors: `Internal` when it is no BSON.
pub(super) fn raw_fields<'a>(collection: &'static str, document: &'a RawDocument) -> Result<Vec<RawField<'a>>> {
    let field = |field: bson::error::Result<(&'a bson::raw::CStr, RawBsonRef<'a>)>| field.map(|(name, value)| (name.as_str(), value));
    // As many as a message has; the iterator does not say how many come.
    let mut fields = Vec::with_capacity(32);
    for next in document.iter().map(field) {
        fields.push(next.map_err(|e| Error::internal(format!("{collection}: a document cannot be read: {e}")))?);
    }
    Ok(fields)
}

/// A value that is no list and no document.
enum Scalar<'a> {
    Text(&'a str),
    ObjectId(ObjectId),
    Whole(i64),
    Fraction(f64),
    Flag(bool),
    Date(bson::DateTime),
    Other,
}

impl<'a> Scalar<'a> {
    /// `None` for what says nothing.
    fn of(value: &'a Bson) -> Option<Self> {
        Some(match value {
            Bson::Null | Bson::Undefined => return None,
            Bson::String(text) => Self::Text(text),
            Bson::ObjectId(id) => Self::ObjectId(*id),
            Bson::Int32(number) => Self::Whole(i64::from(*number)),
            Bson::Int64(number) => Self::Whole(*number),
            Bson::Double(number) => Self::Fraction(*number),
            Bson::Boolean(flag) => Self::Flag(*flag),
            Bson::DateTime(at) => Self::Date(*at),
            _ => Self::Other,
        })
    }

    fn of_raw(value: RawBsonRef<'a>) -> Option<Self> {
        Some(match value {
            RawBsonRef::Null | RawBsonRef::Undefined => return None,
            RawBsonRef::String(text) => Self::Text(text),
            RawBsonRef::ObjectId(id) => Self::ObjectId(id),
            RawBsonRef::Int32(number) => Self::Whole(i64::from(number)),
            RawBsonRef::Int64(number) => Self::Whole(number),
            RawBsonRef::Double(number) => Self::Fraction(number),
            RawBsonRef::Boolean(flag) => Self::Flag(flag),
            RawBsonRef::DateTime(at) => Self::Date(at),
            _ => Self::Other,
        })
    }

    /// A text, or the hex of an ObjectId.
    fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::ObjectId(id) => Some(Cow::Owned(id.to_hex())),
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "seconds of a recording")]
            Self::Whole(number) => Some(*number as f64),
            Self::Fraction(number) if number.is_finite() => Some(*number),
            _ => None,
        }
    }

    /// Without its fraction.
    fn whole(&self) -> Option<i64> {
        match self {
            Self::Whole(number) => Some(*number),
            #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and fractions are not wanted")]
            Self::Fraction(number) if number.is_finite() => Some(*number as i64),
            _ => None,
        }
    }
}

impl<'a> Fields<'a> {
    /// A document of `collection`. Errors: `Internal` when its `_id` is no ObjectId.
    pub(super) fn of(collection: &'static str, document: &'a Document) -> Result<Self> {
        match document.get("_id") {
            Some(Bson::ObjectId(id)) => Ok(Self { collection, id: *id, document: Source::Parsed(document) }),
            other => Err(Error::internal(format!("{collection}: a document has the _id {other:?}, expected an ObjectId"))),
        }
    }

    /// The same of a document in bytes.
    pub(super) fn of_raw(collection: &'static str, fields: &'a [RawField<'a>]) -> Result<Self> {
        match fields.iter().find(|(name, _)| *name == "_id").map(|(_, value)| *value) {
            Some(RawBsonRef::ObjectId(id)) => Ok(Self { collection, id, document: Source::Raw(fields) }),
            other => Err(Error::internal(format!("{collection}: a document has the _id {other:?}, expected an ObjectId"))),
        }
    }

    /// A document inside this one; errors name the outer one.
    pub(super) fn inner(self, document: &'a Document) -> Self {
        Self { document: Source::Parsed(document), ..self }
    }

    pub(super) fn id(self) -> [u8; 12] {
        self.id.bytes()
    }

    /// When the id was made: the last resort for a document without dates.
    pub(super) fn id_time(self) -> Timestamp {
        Timestamp::from_millis(self.id.timestamp().timestamp_millis())
    }

    /// The value, unless absent or `null`; of a document in bytes none, for lists and documents in it are read by nobody.
    pub(super) fn get(self, name: &str) -> Option<&'a Bson> {
        let Source::Parsed(document) = self.document else { return None };
        document.get(name).filter(|value| !matches!(value, Bson::Null | Bson::Undefined))
    }

    fn scalar(self, name: &str) -> Option<Scalar<'a>> {
        match self.document {
            Source::Parsed(document) => document.get(name).and_then(Scalar::of),
            Source::Raw(fields) => fields.iter().find(|(other, _)| *other == name).and_then(|(_, value)| Scalar::of_raw(*value)),
        }
    }

    pub(super) fn wrong(self, name: &str, why: &str) -> Error {
        Error::internal(format!("{} {}: the field {name} {why}", self.collection, self.id))
    }

    /// A text, or the hex of an ObjectId, to look at.
    fn look_at(self, name: &str) -> Result<Option<Cow<'a, str>>> {
        self.scalar(name).map(|value| value.into_text().ok_or_else(|| self.wrong(name, "is no text"))).transpose()
    }

    /// A word that `parse` knows; an empty one says nothing. Errors: `why`, when it knows it not.
    pub(super) fn find_word<T>(self, name: &str, parse: impl FnOnce(&str) -> Option<T>, why: &str) -> Result<Option<T>> {
        let word = self.look_at(name)?.filter(|word| !word.is_empty());
        word.map(|word| parse(&word).ok_or_else(|| self.wrong(name, why))).transpose()
    }

    /// A text, or the hex of an ObjectId.
    pub(super) fn find_text(self, name: &str) -> Result<Option<String>> {
        Ok(self.look_at(name)?.map(Cow::into_owned))
    }

    /// The same, where an empty text says nothing.
    pub(super) fn find_filled(self, name: &str) -> Result<Option<String>> {
        Ok(self.look_at(name)?.filter(|text| !text.is_empty()).map(Cow::into_owned))
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
        match self.scalar(name) {
            None => Ok(None),
            Some(Scalar::ObjectId(id)) => Ok(Some(id.bytes())),
            Some(Scalar::Text("")) => Ok(None),
            Some(Scalar::Text(text)) => match ObjectId::parse_str(text) {
                Ok(id) => Ok(Some(id.bytes())),
                Err(_) => Err(self.wrong(name, "is no ObjectId")),
            },
            Some(_) => Err(self.wrong(name, "is no ObjectId")),
        }
    }

    pub(super) fn find_number(self, name: &str) -> Result<Option<f64>> {
        self.scalar(name).map(|value| value.number().ok_or_else(|| self.wrong(name, "is no number"))).transpose()
    }

    /// A number without its fraction.
    pub(super) fn find_whole(self, name: &str) -> Result<Option<i64>> {
        self.scalar(name).map(|value| value.whole().ok_or_else(|| self.wrong(name, "is no number"))).transpose()
    }

    pub(super) fn find_flag(self, name: &str) -> Result<Option<bool>> {
        match self.scalar(name) {
            None => Ok(None),
            Some(Scalar::Flag(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(name, "is neither true nor false")),
        }
    }

    pub(super) fn find_date(self, name: &str) -> Result<Option<Timestamp>> {
        match self.scalar(name) {
            None => Ok(None),
            Some(Scalar::Date(at)) => Ok(Some(Timestamp::from_millis(at.timestamp_millis()))),
            Some(Scalar::Text(text)) => Timestamp::parse(text).map(Some).ok_or_else(|| self.wrong(name, "is no date")),
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
        let Source::Parsed(document) = self.document else { return None.into_iter().flatten() };
        Some(document.iter()).into_iter().flatten()
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
        let text = |value: Option<Scalar<'_>>| {
            value.and_then(Scalar::into_text).map(Cow::into_owned).ok_or_else(|| self.wrong(name, "holds something that is no text"))
        };
        let Source::Raw(fields) = self.document else {
            return self.elements(name)?.iter().map(|value| text(Scalar::of(value))).collect();
        };
        match fields.iter().find(|(other, _)| *other == name).map(|(_, value)| *value) {
            None | Some(RawBsonRef::Null | RawBsonRef::Undefined) => Ok(Vec::new()),
            Some(RawBsonRef::Array(elements)) => {
                let element = |value: bson::error::Result<RawBsonRef<'a>>| text(value.ok().and_then(Scalar::of_raw));
                elements.into_iter().map(element).collect()
            }
            Some(_) => Err(self.wrong(name, "is no array")),
        }
    }

    pub(super) fn find_kind(self, name: &str) -> Result<Option<ParticipantKind>> {
        self.find_word(name, ParticipantKind::parse, "is no kind of participant")
    }

    /// A person written as two fields.
    pub(super) fn participant(self, kind: &str, id: &str) -> Result<Participant> {
        let kind = self.find_kind(kind)?.ok_or_else(|| self.wrong(kind, "is missing"))?;
        let id = self.look_at(id)?.ok_or_else(|| self.wrong(id, "is missing"))?;
        Ok(Participant::stored(kind, &*id))
    }
}

/// A number of any type, without its fraction.
pub(super) fn whole(value: &Bson) -> Option<i64> {
    Scalar::of(value)?.whole()
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
