use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{AGENT, Headers};

const HOST_LINE: &[u8] = b"host: here\r\n";

/// The values of a header among the lines as they travel.
fn written(headers: &Headers, wanted: &HeaderName) -> Vec<String> {
    let mut head = Vec::new();
    headers.push_to(&mut head, HOST_LINE);
    let head = String::from_utf8(head).unwrap();
    let fields = head.lines().map(|line| line.split_once(": ").unwrap());
    fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_str())).map(|(_, value)| value.to_owned()).collect()
}

#[test]
fn a_host_and_an_agent_are_written_once_whoever_names_them() {
    let agent = AGENT;
    for (name, usual) in [(HOST, "here"), (USER_AGENT, agent.to_str().unwrap())] {
        let given = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("given"))]);
        let accept = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("*/*"))]);
        assert_eq!(written(&Headers::new(accept.clone()), &name), [usual]);
        assert_eq!(written(&Headers::new(given.clone()), &name), ["given"]);
        for common in [accept, given] {
            let mut headers = Headers::new(common);
            headers.extend(&HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("authorizer"))]));
            assert_eq!(written(&headers, &name), ["authorizer"]);
        }
    }
}
