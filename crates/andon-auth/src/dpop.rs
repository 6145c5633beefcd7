//! Proof of possession (RFC 9449): each request is signed with a key that the token is bound to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use zeroize::Zeroizing;

use crate::error::AuthError;
use crate::jwt::{SigningKey, digest, encode, now_s, random_text};
use crate::store::DpopKey;

/// The key of one client, and what the servers want to see in its proofs.
#[derive(Debug, Clone)]
pub(crate) struct Prover {
    key: SigningKey,
    /// The same, as it is kept.
    pub(crate) stored: DpopKey,
    /// The authorization server's nonce and the resource server's are nothing to each other (RFC 9449, 8.2 and 9).
    pub(crate) authorization_nonce: Option<String>,
    pub(crate) resource_nonce: Option<String>,
}

impl Prover {
    /// With a new key.
    pub(crate) fn new() -> Result<Self, AuthError> {
        Self::of(&DpopKey(encode(&SigningKey::generate()?)))
    }

    /// With the key of an earlier run.
    pub(crate) fn of(stored: &DpopKey) -> Result<Self, AuthError> {
        let der = URL_SAFE_NO_PAD.decode(&stored.0).map(Zeroizing::new);
        let der = der.map_err(|_| AuthError::Key("what was kept is none".to_owned()))?;
        let key = SigningKey::from_pkcs8(&der)?;
        Ok(Self { key, stored: stored.clone(), authorization_nonce: None, resource_nonce: None })
    }

    /// A proof for the token endpoint.
    pub(crate) fn at_authorization_server(&self, url: &str) -> Result<String, AuthError> {
        self.prove("POST", url, self.authorization_nonce.as_deref(), None)
    }

    /// A proof for a request that carries `token`.
    pub(crate) fn at_resource(&self, method: &str, url: &str, token: &str) -> Result<String, AuthError> {
        self.prove(method, url, self.resource_nonce.as_deref(), Some(token))
    }

    /// Fresh each time: a proof must not be seen twice.
    fn prove(&self, method: &str, url: &str, nonce: Option<&str>, token: Option<&str>) -> Result<String, AuthError> {
        // Without query and fragment (RFC 9449, 4.2).
        let end = url.find(['?', '#']).unwrap_or(url.len());
        let mut claims = json!({ "jti": random_text()?, "htm": method, "htu": &url[..end], "iat": now_s() });
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        if let Some(token) = token {
            claims["ath"] = digest(token).into();
        }
        let jwk = self.key.public_jwk().unwrap_or(Value::Null);
        self.key.sign("dpop+jwt", &[("jwk", jwk)], &claims)
    }
}

/// The nonce in a proof of ours, if it has one.
pub(crate) fn nonce_of(proof: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(proof.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims["nonce"].as_str().map(str::to_owned)
}
