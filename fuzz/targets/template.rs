//! Templates: what is captured expands to the URI that was matched.
#![no_main]

use andon_types::template::UriTemplate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (&str, &str)| {
    if let Ok(template) = UriTemplate::parse(texts.0) {
        if let Some(values) = template.matches(texts.1) {
            assert_eq!(template.expand(&values), texts.1);
        }
    }
});
