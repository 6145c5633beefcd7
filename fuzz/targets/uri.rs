//! URIs: the canonical form is stable, and its parts are in it.
#![no_main]

use andon_types::uri::Uri;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(uri) = Uri::parse(text) {
        assert_eq!(Uri::parse(uri.as_str()).as_ref(), Ok(&uri), "{text:?}");
        assert!(uri.as_str().contains(uri.path()));
        assert!(!uri.authority().is_some() || !uri.path().split('/').any(|part| part == ".."), "{text:?}");
    }
});
