//! The token endpoint: grants, the client's authentication, and what comes back.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::dpop::Prover;
use crate::error::{AuthError, shown};
use crate::jwt::{SigningKey, now_s};
use crate::metadata::ServerMetadata;
use crate::net::{Net, failed};
use crate::registration::ClientCredentials;

/// A token is renewed so many seconds before it ends.
const EARLY_S: u64 = 30;

/// An access token and what belongs to it. Its `Debug` shows no secret, and its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The token.
    pub access_token: String,
    /// `Bearer` or `DPoP`.
    pub token_type: String,
    /// Brings a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Seconds since 1970; `None` if it was not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_s: Option<u64>,
    /// What was granted, if that was said, else what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("token_type", &self.token_type)
            .field("expires_at_s", &self.expires_at_s)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.access_token.zeroize();
        self.refresh_token.zeroize();
    }
}

impl Token {
    /// Whether it should be renewed now.
    pub fn is_old(&self) -> bool {
        self.expires_at_s.is_some_and(|at| at <= now_s() + EARLY_S)
    }

    /// Whether a request can carry it.
    pub(crate) fn is_for_requests(&self) -> bool {
        self.is_dpop() || self.token_type.eq_ignore_ascii_case("bearer")
    }

    pub(crate) fn is_dpop(&self) -> bool {
        self.token_type.eq_ignore_ascii_case("dpop")
    }
}

/// How this client shows who it is.
pub(crate) enum ClientAuth<'a> {
    /// As its registration says.
    Credentials(&'a ClientCredentials),
    /// By an assertion that it signs (`private_key_jwt`).
    Assertion { client_id: &'a str, key: &'a SigningKey },
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    refresh_token: Option<String>,
    expires_in: Option<serde_json::Value>,
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    error_description: Option<String>,
}

/// Asks for a token. A DPoP nonce that the server wants is put into a second request.
pub(crate) async fn request(
    net: &Net,
    server: &ServerMetadata,
    auth: &ClientAuth<'_>,
    fields: &[(&str, &str)],
    mut prover: Option<&mut Prover>,
) -> Result<Token, AuthError> {
    let mut is_second = false;
    loop {
        let proof = prover.as_deref().map(|prover| prover.at_authorization_server(&server.token_endpoint));
        let (outcome, nonce) = send(net, server, auth, fields, proof.transpose()?).await?;
        let has_nonce = nonce.is_some();
        // Whatever the answer is, the next proof needs it (RFC 9449, 8.2).
        if let (Some(prover), Some(nonce)) = (prover.as_deref_mut(), nonce) {
            prover.authorization_nonce = Some(nonce);
        }
        match outcome {
            Err(AuthError::Token { code, .. }) if code == "use_dpop_nonce" && has_nonce && !is_second => {
                is_second = true;
            }
            outcome => return outcome,
        }
    }
}

/// What the token endpoint says, and the nonce that it wants from now on.
type Answer = (Result<Token, AuthError>, Option<String>);

async fn send(
    net: &Net,
    server: &ServerMetadata,
    auth: &ClientAuth<'_>,
    fields: &[(&str, &str)],
    proof: Option<String>,
) -> Result<Answer, AuthError> {
    let mut request = prepare(net, server, auth, fields)?;
    if let Some(proof) = proof {
        request = request.header("dpop", proof);
    }
    let response = request.send().await.map_err(|error| failed(&error))?;
    let status = response.status();
    let nonce = response.headers().get("dpop-nonce").and_then(|nonce| nonce.to_str().ok()).map(str::to_owned);
    let body = Zeroizing::new(net.body(response).await?);
    if status == StatusCode::OK {
        return Ok((Ok(read(&body)?), nonce));
    }
    let (code, description) = match serde_json::from_slice::<Refused>(&body) {
        Ok(refused) => (shown(&refused.error), shown(&refused.error_description.unwrap_or_default())),
        Err(_) => (format!("HTTP {status}"), String::new()),
    };
    Ok((Err(AuthError::Token { code, description }), nonce))
}

fn prepare(
    net: &Net,
    server: &ServerMetadata,
    auth: &ClientAuth<'_>,
    fields: &[(&str, &str)],
) -> Result<RequestBuilder, AuthError> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    let mut request = net.request(Method::POST, &server.token_endpoint)?;
    match auth {
        ClientAuth::Assertion { client_id, key } => {
            form.append_pair("client_id", client_id);
            form.append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
            form.append_pair("client_assertion", &key.client_assertion(client_id, &server.issuer)?);
        }
        ClientAuth::Credentials(credentials) => {
            let secret = credentials.client_secret.as_deref().unwrap_or_default();
            match credentials.auth_method(server).as_str() {
                "client_secret_basic" => {
                    request = request.header("authorization", basic(&credentials.client_id, secret));
                }
                "client_secret_post" => {
                    form.append_pair("client_id", &credentials.client_id);
                    form.append_pair("client_secret", secret);
                }
                _ => {
                    form.append_pair("client_id", &credentials.client_id);
                }
            }
        }
    }
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    Ok(request.header("accept", "application/json").body(form.finish()))
}

fn read(body: &[u8]) -> Result<Token, AuthError> {
    let bad = |why: &str| AuthError::Token { code: "invalid_response".to_owned(), description: why.to_owned() };
    // What the parser would quote could be the token.
    let granted: Granted = serde_json::from_slice(body).map_err(|_| bad("no token in the answer"))?;
    // What is exchanged for something else is of no kind (RFC 8693, 2.2.1).
    let is_known = ["bearer", "dpop", "n_a"].iter().any(|known| granted.token_type.eq_ignore_ascii_case(known));
    let is_visible =
        !granted.access_token.is_empty() && granted.access_token.bytes().all(|b| (0x21..=0x7e).contains(&b));
    if !is_known || !is_visible {
        return Err(bad("a token of a kind that this client cannot use"));
    }
    // Some servers write the number as text.
    let seconds = granted.expires_in.and_then(|it| it.as_u64().or_else(|| it.as_str()?.parse().ok()));
    Ok(Token {
        access_token: granted.access_token,
        token_type: granted.token_type,
        refresh_token: granted.refresh_token,
        expires_at_s: seconds.map(|seconds| now_s().saturating_add(seconds)),
        scope: granted.scope,
    })
}

/// Both are encoded as form fields first (RFC 6749, 2.3.1).
fn basic(id: &str, secret: &str) -> String {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(id), encode(secret))))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{basic, read};

    #[test]
    fn reserved_characters_of_a_secret_are_encoded() {
        let header = basic("a:b", "p@ss w%rd+");
        let decoded = STANDARD.decode(header.strip_prefix("Basic ").expect("the scheme")).expect("base64");
        assert_eq!(String::from_utf8(decoded).expect("text"), "a%3Ab:p%40ss+w%25rd%2B");
    }

    #[test]
    fn tokens_that_no_header_can_carry_are_refused_and_never_shown() {
        for body in [
            r#"{"access_token":"se\ncret","token_type":"Bearer"}"#,
            r#"{"access_token":"","token_type":"Bearer"}"#,
            r#"{"access_token":"secret","token_type":"mac"}"#,
            r#"{"access_token":{"secret":1},"token_type":"Bearer"}"#,
            "secret",
        ] {
            let error = read(body.as_bytes()).expect_err("refused").to_string();
            assert!(!error.contains("secret") && !error.contains("cret"), "{error}");
        }
        let token = read(br#"{"access_token":"secret","token_type":"bearer","expires_in":"60"}"#).expect("a token");
        assert!(!format!("{token:?}").contains("secret"));
        assert!(token.expires_at_s.is_some() && !token.is_old());
    }
}
