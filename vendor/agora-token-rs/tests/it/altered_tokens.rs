//! Tokens cut, altered and made up. The readers must answer, never panic, and believe nothing that was touched.

use agora_token_rs::Error;
use agora_token_rs::v006::AccessToken;
use agora_token_rs::v007::AccessToken2;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::zlib::{inflated_body, token_around};
use crate::support::{cases, certificate, text, vector_007};

/// A fixed sequence of noise: a failure comes back on the next run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

#[test]
fn a_token_cut_anywhere_is_malformed() {
    for case in cases("/vectors007", 68) {
        let token = text(&case["expected"], "token");
        for end in (0..token.len()).take(2_000) {
            assert!(AccessToken2::parse(&token[..end]).is_err(), "{} cut to {end}", case["id"]);
        }
    }
    for case in cases("/vectors006", 20) {
        let token = text(&case["expected"], "token");
        for end in 0..token.len() {
            assert!(AccessToken::parse(&token[..end]).is_err(), "{} cut to {end}", case["id"]);
        }
    }
}

#[test]
fn one_changed_bit_of_the_body_never_verifies() {
    for id in ["rtc-uid-publisher", "obj-all-types", "obj-unknown-type-last"] {
        let case = vector_007(id);
        let certificate = certificate(&case["inputs"]);
        let body = inflated_body(text(&case["expected"], "token"));
        assert!(AccessToken2::parse(&token_around(&body)).unwrap().verify_signature(&certificate).is_ok());
        for bit in 0..body.len() * 8 {
            let mut altered = body.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let verdict = AccessToken2::parse(&token_around(&altered)).and_then(|token| token.verify_signature(&certificate));
            assert!(matches!(verdict, Err(Error::Malformed { .. } | Error::SignatureMismatch)), "{id}, bit {bit}: {verdict:?}");
        }
    }
}

#[test]
fn one_changed_character_of_a_006_token_never_verifies() {
    let case = &cases("/vectors006", 20)[2];
    let (inputs, token) = (&case["inputs"], text(&case["expected"], "token"));
    let verdict = |token: &str| {
        let user = agora_token_rs::User::Account(text(inputs, "uid").into());
        AccessToken::parse(token)?.verify(&certificate(inputs), text(inputs, "channel"), &user)
    };
    assert_eq!(verdict(token), Ok(()));
    for at in 0..token.len() {
        let other = if &token[at..=at] == "A" { "B" } else { "A" };
        let altered = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        assert!(verdict(&altered).is_err(), "character {at}");
    }
}

#[test]
fn heavily_altered_bodies_are_answered_without_a_panic() {
    let bodies: Vec<_> = cases("/vectors007", 68)
        .iter()
        .map(|case| inflated_body(text(&case["expected"], "token")))
        .filter(|body| body.len() < 1_000)
        .collect();
    let mut noise = Noise(0x5eed);
    let mut readable = 0;
    for round in 0..20_000 {
        let mut body = bodies[round % bodies.len()].clone();
        for _ in 0..=noise.below(6) {
            let at = noise.below(body.len());
            match noise.below(4) {
                0 => body[at] = noise.byte(),
                1 => body[at] = [0, 1, 0x7f, 0xff][noise.below(4)],
                2 => body.insert(at, noise.byte()),
                _ => body.truncate(at.max(1)),
            }
        }
        readable += usize::from(AccessToken2::parse(&token_around(&body)).is_ok());
    }
    assert!(readable > 100, "the alterations never reached past the first fields: {readable}");
}

#[test]
fn noise_in_any_layer_is_answered_without_a_panic() {
    let mut noise = Noise(0xbad);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..noise.below(120)).map(|_| noise.byte()).collect();
        let lossy = String::from_utf8_lossy(&bytes);
        assert!(AccessToken2::parse(&lossy).is_err());
        assert!(AccessToken2::parse(&format!("007{lossy}")).is_err());
        assert!(AccessToken2::parse(&format!("007{}", STANDARD.encode(&bytes))).is_err());
        assert!(AccessToken::parse(&format!("006{lossy}")).is_err());
        // Noise can be a readable body, so only the answer counts.
        let _ = AccessToken2::parse(&token_around(&bytes));
        let _ = AccessToken::parse(&format!("006970CA35de60c44645bbae8a215061b33{}", STANDARD.encode(&bytes)));
    }
}

#[test]
fn bytes_no_signature_covers_are_refused() {
    let token = text(&vector_007("rtc-uid-publisher")["expected"], "token");
    let mut compressed = STANDARD.decode(&token[3..]).unwrap();
    compressed.push(0);
    let padded = format!("007{}", STANDARD.encode(compressed));
    assert_eq!(AccessToken2::parse(&padded), Err(Error::Malformed { at: "zlib stream" }));

    let token = text(&cases("/vectors006", 20)[0]["expected"], "token");
    let mut content = STANDARD.decode(&token[35..]).unwrap();
    content.push(0);
    let padded = format!("{}{}", &token[..35], STANDARD.encode(content));
    assert_eq!(AccessToken::parse(&padded), Err(Error::Malformed { at: "end of the content" }));
}
