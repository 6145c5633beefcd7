//! `WWW-Authenticate` (RFC 9110, 11.6.1): several challenges, in several headers, with quoted strings.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// Bytes of all challenges together.
const BYTES_MAX: usize = 16 << 10;
/// Challenges in all.
const CHALLENGES_MAX: usize = 16;

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Challenge {
    /// In lower case: `bearer`, `dpop`, ...
    pub(crate) scheme: String,
    /// Names in lower case, with their values.
    params: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is one that an OAuth token answers.
    pub(crate) fn is_oauth(&self) -> bool {
        matches!(self.scheme.as_str(), "bearer" | "dpop")
    }
}

/// The challenges of a response, in order. What cannot be read ends the list.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut bytes = 0;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        bytes += value.len();
        if bytes > BYTES_MAX {
            break;
        }
        if let Ok(text) = std::str::from_utf8(value.as_bytes()) {
            Reader { rest: text }.challenges(&mut found);
        }
    }
    found.truncate(CHALLENGES_MAX);
    found
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn challenges(mut self, found: &mut Vec<Challenge>) {
        loop {
            self.skip(|c| c == ',' || c.is_ascii_whitespace());
            let scheme = self.token();
            if scheme.is_empty() {
                return;
            }
            let mut challenge = Challenge { scheme: scheme.to_ascii_lowercase(), params: Vec::new() };
            self.params(&mut challenge);
            found.push(challenge);
        }
    }

    /// Parameters up to the next scheme, which is a token without `=` after it.
    fn params(&mut self, challenge: &mut Challenge) {
        loop {
            self.skip(|c| c == ',' || c.is_ascii_whitespace());
            let before = self.rest;
            let name = self.token();
            let after_name = self.rest;
            self.skip(|c| c.is_ascii_whitespace());
            if name.is_empty() || !self.rest.starts_with('=') {
                // A scheme, or the end; `token68` is skipped with whatever it holds.
                self.rest = before;
                if name.is_empty() && !before.is_empty() {
                    let end = before.find(',').unwrap_or(before.len());
                    self.rest = &before[end..];
                    continue;
                }
                // `Negotiate YWJj==`: the token is followed by padding or the end of the challenge.
                if after_name.starts_with(['=', '/', '+']) {
                    let end = before.find(',').unwrap_or(before.len());
                    self.rest = &before[end..];
                    continue;
                }
                return;
            }
            self.rest = &self.rest[1..];
            self.skip(|c| c.is_ascii_whitespace());
            let value = if self.rest.starts_with('"') { self.quoted() } else { self.token() };
            let name = name.to_ascii_lowercase();
            // A parameter must not stand twice; the first one counts.
            if challenge.get(&name).is_none() {
                challenge.params.push((name, value));
            }
        }
    }

    fn skip(&mut self, is_skipped: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(is_skipped);
    }

    fn token(&mut self) -> String {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c);
        let end = self.rest.find(|c| !is_token(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        let token = token.to_owned();
        self.rest = rest;
        token
    }

    fn quoted(&mut self) -> String {
        let mut value = String::new();
        let mut chars = self.rest[1..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[1 + at + 1..];
                    return value;
                }
                '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
                c => value.push(c),
            }
        }
        self.rest = "";
        value
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{Challenge, challenges};

    fn read(values: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("www-authenticate", HeaderValue::from_str(value).expect("a header"));
        }
        challenges(&headers)
    }

    #[test]
    fn cl8_several_challenges_with_quoted_commas_and_other_schemes() {
        let found = read(&[
            r#"Basic realm="a, b=\"c\"", Bearer resource_metadata="https://a.example/prm", scope="x y", error=invalid_token"#,
            r#"DPoP algs="ES256", error="use_dpop_nonce""#,
        ]);
        let schemes: Vec<&str> = found.iter().map(|challenge| challenge.scheme.as_str()).collect();
        assert_eq!(schemes, ["basic", "bearer", "dpop"]);
        assert_eq!(found[0].get("realm"), Some(r#"a, b="c""#));
        assert_eq!(found[1].get("resource_metadata"), Some("https://a.example/prm"));
        assert_eq!(found[1].get("scope"), Some("x y"));
        assert_eq!(found[1].get("error"), Some("invalid_token"));
        assert_eq!(found[2].get("error"), Some("use_dpop_nonce"));
    }

    #[test]
    fn a_scheme_alone_spaces_and_unquoted_values() {
        let found = read(&["Bearer", "bearer  scope = mcp:basic ,error= x", "Negotiate YWJjZA==, Bearer realm=z"]);
        assert_eq!(found.len(), 4);
        assert_eq!(found[1].get("scope"), Some("mcp:basic"));
        assert_eq!(found[1].get("error"), Some("x"));
        assert_eq!(found[3].get("realm"), Some("z"));
    }

    #[test]
    fn garbage_is_bounded_and_does_not_hang() {
        for garbage in
            ["", ",,,,", "=", "\"", "Bearer =", "Bearer a=\"unterminated", "Bearer a=\"x\\", "@@@ @@@", "a b c d"]
        {
            read(&[garbage]);
        }
        assert!(read(&["x ".repeat(7_000).as_str()]).len() <= 16);
        assert!(read(&["y".repeat(20_000).as_str()]).is_empty());
    }
}
