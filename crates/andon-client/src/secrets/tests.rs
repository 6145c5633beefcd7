use http::{HeaderMap, HeaderValue};

use super::Secrets;
use crate::target::{Command, Kind};

#[test]
fn values_are_told_by_their_names() {
    let check = |secrets: &Secrets, text: &str, expected: &str| {
        let mut masked = text.to_owned();
        secrets.mask(&mut masked);
        assert_eq!(masked, expected);
    };
    let command = Command::new("x").env("KEY", "sk-12345").env("LONG", "sk-12345-and-more").env("LEVEL", "debug");
    let of_a_child = Secrets::of(&Kind::Command(command), &HeaderMap::new());
    check(&of_a_child, "no sk-12345 and no sk-12345-and-more, debug", "no ${KEY} and no ${LONG}, debug");
    let headers = HeaderMap::from_iter([
        (http::header::AUTHORIZATION, HeaderValue::from_static("Bearer abcdefgh")),
        (http::header::ACCEPT_LANGUAGE, HeaderValue::from_static("en")),
    ]);
    let of_a_url = Secrets::of(&Kind::Url("http://x".to_owned()), &headers);
    check(
        &of_a_url,
        "abcdefgh is no token, \"Bearer abcdefgh\" no header, en",
        "${authorization} is no token, \"${authorization}\" no header, en",
    );
}
