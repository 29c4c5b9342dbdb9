//! Packing against the `primitives` of the vectors, in both directions.

use serde_json::Value;

use super::*;

fn primitives(name: &str) -> Vec<(Value, Vec<u8>)> {
    let vectors: Value = serde_json::from_str(include_str!("../../tests/data/agora-token-vectors.json")).unwrap();
    let pairs = vectors["primitives"][name].as_array().unwrap();
    assert!(pairs.len() >= 4, "{name}");
    pairs.iter().map(|pair| (pair[0].clone(), unhex(pair[1].as_str().unwrap()))).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.into_bytes()
}

#[test]
fn unsigned_integers_are_little_endian() {
    for (value, bytes) in primitives("u16") {
        let value = u16::try_from(value.as_u64().unwrap()).unwrap();
        assert_eq!(written(|w| w.u16(value)), bytes);
        assert_eq!(Reader::new(&bytes).u16("test"), Ok(value));
    }
    for (value, bytes) in primitives("u32") {
        let value = u32::try_from(value.as_u64().unwrap()).unwrap();
        assert_eq!(written(|w| w.u32(value)), bytes);
        assert_eq!(Reader::new(&bytes).u32("test"), Ok(value));
    }
}

#[test]
fn signed_integers_are_twos_complement() {
    for (value, bytes) in primitives("i16") {
        let value = i16::try_from(value.as_i64().unwrap()).unwrap();
        assert_eq!(written(|w| w.i16(value)), bytes);
        assert_eq!(Reader::new(&bytes).i16("test"), Ok(value));
    }
}

#[test]
fn strings_count_bytes_and_not_characters() {
    for (value, bytes) in primitives("string") {
        let value = value.as_str().unwrap();
        assert_eq!(written(|w| w.string(value, "test").unwrap()), bytes);
        assert_eq!(Reader::new(&bytes).text("test").as_deref(), Ok(value));
    }
}

#[test]
fn maps_are_written_in_ascending_key_order() {
    for (value, bytes) in primitives("privilegeMap") {
        let pairs = value.as_array().unwrap().iter();
        let number = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
        let map = pairs.map(|pair| (u16::try_from(number(&pair[0])).unwrap(), number(&pair[1]))).collect();
        assert_eq!(written(|w| w.map(&map).unwrap()), bytes);
        assert_eq!(Reader::new(&bytes).map(), Ok(map));
    }
}

#[test]
fn a_length_over_16_bits_is_refused_and_never_cut() {
    let mut writer = Writer::default();
    assert_eq!(writer.string(vec![b'a'; 65_536], "name"), Err(Error::FieldTooLong { field: "name" }));
    assert_eq!(writer.count(65_536, "list"), Err(Error::FieldTooLong { field: "list" }));
    assert!(writer.into_bytes().is_empty());
    assert_eq!(written(|w| w.string(vec![b'a'; 65_535], "name").unwrap()).len(), 65_537);
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    assert_eq!(Reader::new(&[1, 0, 0xff]).text("name"), Err(Error::Malformed { at: "name" }));
}
