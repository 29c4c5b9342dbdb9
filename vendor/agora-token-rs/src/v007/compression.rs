//! zlib around the body. Deflating is free choice; inflating is where hostile input arrives, so it is bounded and exact.

use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};

use crate::{Error, Result};

/// The longest inflated body the reader accepts and the writer makes: 64 KiB.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Compresses a body; `FieldTooLong` if our own reader would refuse it for its size.
pub(super) fn deflate(body: &[u8]) -> Result<Vec<u8>> {
    if body.len() > MAX_BODY_BYTES {
        return Err(Error::FieldTooLong { field: "token" });
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to a `Vec` cannot fail; should that ever change, a token that cannot be stored is too long.
    encoder.write_all(body).and_then(|()| encoder.finish()).map_err(|_| Error::FieldTooLong { field: "token" })
}

/// Inflates one complete zlib stream: header, checksum, and nothing after it.
///
/// The stream interface of the library takes a cut stream for a short one, so this asks for the end explicitly.
pub(super) fn inflate(compressed: &[u8]) -> Result<Vec<u8>> {
    let malformed = Error::Malformed { at: "zlib stream" };
    // One byte over the limit tells "exactly the limit" from "more", and bounds the work: output never grows beyond it.
    let mut body = Vec::with_capacity(MAX_BODY_BYTES + 1);
    let mut inflater = Decompress::new(true);
    let status = inflater.decompress_vec(compressed, &mut body, FlushDecompress::Finish);
    if body.len() > MAX_BODY_BYTES {
        return Err(Error::Malformed { at: "length of the inflated body" });
    }
    let whole_input_used = usize::try_from(inflater.total_in()) == Ok(compressed.len());
    match status {
        Ok(Status::StreamEnd) if whole_input_used => Ok(body),
        _ => Err(malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_exactly_the_limit_comes_back() {
        // Noise, so that the stream is long as well.
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        let body: Vec<u8> = (0..MAX_BODY_BYTES).map(|_| noise()).collect();
        assert_eq!(inflate(&deflate(&body).unwrap()), Ok(body));
        assert_eq!(inflate(&deflate(&[]).unwrap()), Ok(vec![]));
    }

    #[test]
    fn one_byte_more_is_neither_made_nor_read() {
        let body = vec![0; MAX_BODY_BYTES + 1];
        assert_eq!(deflate(&body), Err(Error::FieldTooLong { field: "token" }));
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&body).unwrap();
        let refused = inflate(&encoder.finish().unwrap());
        assert_eq!(refused, Err(Error::Malformed { at: "length of the inflated body" }));
    }

    #[test]
    fn a_stream_cut_anywhere_or_followed_by_anything_is_refused() {
        let whole = deflate(b"the body of a token, the body of a token").unwrap();
        for end in 0..whole.len() {
            assert!(inflate(&whole[..end]).is_err(), "cut after {end} bytes");
        }
        let mut followed = whole;
        followed.push(0);
        assert!(inflate(&followed).is_err());
    }
}
