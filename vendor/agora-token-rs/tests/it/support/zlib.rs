//! Opening and closing 007 tokens without the crate under test, so that it is not its own judge.

use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

pub fn inflated_body(token: &str) -> Vec<u8> {
    let compressed = STANDARD.decode(token.strip_prefix("007").unwrap()).unwrap();
    let mut body = Vec::new();
    ZlibDecoder::new(&compressed[..]).read_to_end(&mut body).unwrap();
    body
}

pub fn token_around(body: &[u8]) -> String {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    format!("007{}", STANDARD.encode(encoder.finish().unwrap()))
}
