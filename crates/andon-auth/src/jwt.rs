//! Signed assertions (RFC 7515, RFC 7519): what this client says about itself with a private key.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::AuthError;

/// How an assertion is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// The algorithm with this name of RFC 7518.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// A private key. Its `Debug` does not show it.
#[derive(Clone)]
pub struct SigningKey(Arc<Pair>);

enum Pair {
    Ec(Box<EcdsaKeyPair>, SystemRandom),
    Rsa(Box<RsaKeyPair>, SystemRandom),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.algorithm().name())
    }
}

impl SigningKey {
    /// A key in PEM (PKCS #8, `BEGIN PRIVATE KEY`).
    ///
    /// # Errors
    /// When it is none for `algorithm`.
    pub fn from_pem(pem: &str, algorithm: Algorithm) -> Result<Self, AuthError> {
        let bad = |why: String| AuthError::Key(why);
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| bad(format!("no PKCS #8 key in PEM: {error}")))?;
        let der = der.secret_pkcs8_der();
        let random = SystemRandom::new();
        let pair = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random)
                .map(|pair| Pair::Ec(Box::new(pair), random)),
            Algorithm::Rs256 => RsaKeyPair::from_pkcs8(der).map(|pair| Pair::Rsa(Box::new(pair), random)),
        };
        let pair = pair.map_err(|error| bad(format!("no key for {}: {error}", algorithm.name())))?;
        Ok(Self(Arc::new(pair)))
    }

    /// A new key on P-256, in PKCS #8.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(crate) fn generate() -> Result<Zeroizing<Vec<u8>>, AuthError> {
        let failed = |_| AuthError::Key("it cannot be made: the system has no randomness".to_owned());
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Ok(Zeroizing::new(der.map_err(failed)?.as_ref().to_vec()))
    }

    /// A key on P-256 that [`Self::generate`] made.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, AuthError> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random)
            .map_err(|error| AuthError::Key(error.to_string()))?;
        Ok(Self(Arc::new(Pair::Ec(Box::new(pair), random))))
    }

    fn algorithm(&self) -> Algorithm {
        match &*self.0 {
            Pair::Ec(..) => Algorithm::Es256,
            Pair::Rsa(..) => Algorithm::Rs256,
        }
    }

    /// The public key as a JWK (RFC 7517); `None` for RSA, which nothing here publishes.
    pub(crate) fn public_jwk(&self) -> Option<Value> {
        match &*self.0 {
            Pair::Ec(pair, _) => {
                // An uncompressed point: 4, x, y.
                let point = pair.public_key().as_ref();
                let (x, y) = (encode(&point[1..33]), encode(&point[33..65]));
                Some(json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }))
            }
            Pair::Rsa(..) => None,
        }
    }

    /// The compact serialization of `claims` with a header of `kind` and further `header` members.
    pub(crate) fn sign(&self, kind: &str, header: &[(&str, Value)], claims: &Value) -> Result<String, AuthError> {
        let mut head = json!({ "alg": self.algorithm().name(), "typ": kind });
        for (name, value) in header {
            head[*name] = value.clone();
        }
        let signed = format!("{}.{}", encode(head.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let failed = |_| AuthError::Key("it cannot sign".to_owned());
        let signature = match &*self.0 {
            Pair::Ec(pair, random) => pair.sign(random, signed.as_bytes()).map_err(failed)?.as_ref().to_vec(),
            Pair::Rsa(pair, random) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, random, signed.as_bytes(), &mut signature).map_err(failed)?;
                signature
            }
        };
        Ok(format!("{signed}.{}", encode(&signature)))
    }

    /// The assertion by which `client_id` authenticates at `audience` (RFC 7523, 2.2).
    pub(crate) fn client_assertion(&self, client_id: &str, audience: &str) -> Result<String, AuthError> {
        const VALID_S: u64 = 60;
        let now = now_s();
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "iat": now,
            "exp": now + VALID_S,
            "jti": random_text()?,
        });
        self.sign("JWT", &[], &claims)
    }
}

/// Base64 for URLs, without padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The SHA-256 of `text` in base64 for URLs.
pub(crate) fn digest(text: &str) -> String {
    encode(&Sha256::digest(text))
}

/// 256 random bits.
pub(crate) fn random_text() -> Result<String, AuthError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| AuthError::Key("the system has no randomness".to_owned()))?;
    Ok(encode(&bytes))
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::{Value, json};

    use super::{Algorithm, SigningKey};

    #[test]
    fn what_is_signed_verifies_with_the_public_key() {
        let key = SigningKey::from_pkcs8(&SigningKey::generate().expect("a key")).expect("usable");
        let token = key.client_assertion("me", "https://as.example").expect("signs");
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let jwk = key.public_jwk().expect("an EC key");
        let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().expect("text")).expect("base64");
        let point = [vec![4], part("x"), part("y")].concat();
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &signature).expect("valid");
        let claims = signed.split_once('.').expect("two parts").1;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64")).expect("JSON");
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["aud"]),
            (&json!("me"), &json!("me"), &json!("https://as.example"))
        );
        assert!(claims["exp"].as_u64() > claims["iat"].as_u64());
    }

    #[test]
    fn keys_that_are_none_are_refused_without_being_shown() {
        let error =
            SigningKey::from_pem("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----", Algorithm::Es256);
        let error = error.expect_err("no key").to_string();
        assert!(!error.contains("c2VjcmV0") && error.contains("ES256"), "{error}");
    }
}
