//! Bytes of a peer: read without a panic, and what is accepted is what serde_json accepts.
#![no_main]

use andon_types::message::{Body, Message, encode_request};
use andon_types::scan::ScanLimits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(body) = Body::parse(bytes, ScanLimits::default()) {
        // Not as a tree: a number may be larger than any that a tree holds.
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).expect("what is accepted is JSON");
        if let Body::Single(Message::Request(request)) = body {
            if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) {
                assert_eq!(value["id"], serde_json::to_value(&request.id).expect("an id is JSON"));
            }
            let again =
                encode_request(&request.id, &request.method, request.params.as_ref().map(|params| params.as_str()));
            if request.method.len() <= 256 {
                let Ok(Body::Single(Message::Request(same))) = Body::parse(again.as_bytes(), ScanLimits::default())
                else {
                    panic!("what was written is read again")
                };
                assert_eq!(same, request);
            }
        }
    }
});
