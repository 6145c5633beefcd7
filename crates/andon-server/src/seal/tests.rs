use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::{any, prop, prop_assert_eq, proptest};

use super::{Seal, SealError};

fn open(seal: &Seal, binding: &[&[u8]], token: &str) -> Result<Vec<u8>, SealError> {
    seal.open("state", binding, 1_000, 4096, token).map(|opened| opened.plain)
}

#[test]
fn m15_n4_a_seal_is_bound_and_cannot_be_changed() {
    let seal = Seal::generate();
    let binding: &[&[u8]] = &[b"alice", b"tools/call", b"digest"];
    let token = seal.seal("state", binding, 2_000, b"secret");
    assert_eq!(open(&seal, binding, &token), Ok(b"secret".to_vec()));
    assert!(!token.contains("secret"));
    for other in [[b"bobby".as_slice(), b"tools/call", b"digest"], [b"alice", b"prompts/get", b"digest"]] {
        assert_eq!(open(&seal, &other, &token), Err(SealError::Forged));
    }
    assert_eq!(open(&seal, &[b"alicetools/call", b"", b"digest"], &token), Err(SealError::Forged));
    assert_eq!(seal.open("cursor", binding, 0, 4096, &token), Err(SealError::Forged));
    for index in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("ASCII");
        assert_eq!(open(&seal, binding, &changed), Err(SealError::Forged), "byte {index}");
        assert_eq!(open(&seal, binding, &token[..index]), Err(SealError::Forged), "cut at {index}");
    }
    assert_eq!(open(&seal, binding, &format!("{token}-TAMPERED")), Err(SealError::Forged));
}

#[test]
fn mr10_seals_expire_and_are_bounded() {
    let seal = Seal::generate();
    let token = seal.seal("state", &[], 1_000, b"x");
    assert_eq!(open(&seal, &[], &token), Err(SealError::Expired));
    assert_eq!(seal.open("state", &[], 0, 8, &token), Err(SealError::TooLarge));
}

#[test]
fn keys_rotate_with_an_overlap() {
    let seal = Seal::new(&[[1; 32]]);
    let old = seal.seal("state", &[], 2_000, b"x");
    seal.rotate(&[2; 32], 1);
    assert!(open(&seal, &[], &old).is_ok());
    let newer = seal.seal("state", &[], 2_000, b"x");
    seal.rotate(&[3; 32], 1);
    assert_eq!(open(&seal, &[], &old), Err(SealError::Forged));
    assert!(open(&seal, &[], &newer).is_ok());
    assert!(open(&Seal::new(&[[2; 32]]), &[], &newer).is_ok(), "any process with the key opens it");
}

#[test]
fn mr3_no_bit_of_a_seal_can_be_flipped() {
    let seal = Seal::generate();
    let sealed = URL_SAFE_NO_PAD.decode(seal.seal("state", &[b"alice"], 2_000, b"secret")).expect("base64");
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let flipped = URL_SAFE_NO_PAD.encode(flipped);
        assert_eq!(open(&seal, &[b"alice"], &flipped), Err(SealError::Forged), "bit {bit}");
    }
    for length in 0..sealed.len() {
        let cut = URL_SAFE_NO_PAD.encode(&sealed[..length]);
        assert_eq!(open(&seal, &[b"alice"], &cut), Err(SealError::Forged), "{length} bytes");
    }
}

#[test]
fn x13_what_is_no_seal_is_refused() {
    let seal = Seal::new(&[]);
    for token in ["", "A", "AQ", "=", "....", "\u{e4}", "AQ==", &"A".repeat(200)] {
        assert_eq!(open(&seal, &[], token), Err(SealError::Forged), "{token:?}");
    }
    assert_eq!(open(&seal, &[], &"A".repeat(5_000)), Err(SealError::TooLarge));
    let other = Seal::new(&[]).seal("state", &[], 2_000, b"x");
    assert_eq!(open(&seal, &[], &other), Err(SealError::Forged), "two fresh keys differ");
}

proptest! {
    #[test]
    fn mr3_a_seal_opens_for_its_own_binding_only(
        plain in prop::collection::vec(any::<u8>(), 0..64),
        one in prop::collection::vec("[ab]{0,2}", 0..4),
        other in prop::collection::vec("[ab]{0,2}", 0..4),
    ) {
        let seal = Seal::new(&[[7; 32]]);
        let bytes = |parts: &[String]| parts.iter().map(|part| part.clone().into_bytes()).collect::<Vec<_>>();
        let (one_bytes, other_bytes) = (bytes(&one), bytes(&other));
        let one_binding: Vec<&[u8]> = one_bytes.iter().map(Vec::as_slice).collect();
        let other_binding: Vec<&[u8]> = other_bytes.iter().map(Vec::as_slice).collect();
        let token = seal.seal("state", &one_binding, 2_000, &plain);
        let expected = if one == other { Ok(plain) } else { Err(SealError::Forged) };
        prop_assert_eq!(open(&seal, &other_binding, &token), expected);
    }
}
