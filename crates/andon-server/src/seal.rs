//! Seals what a client has to carry for us: `requestState` and cursors. Nobody else can read, change, make or
//! redirect one.

use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

/// A secret of 256 bits.
pub type SealKey = [u8; 32];

/// Why a sealed text was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealError {
    /// Longer than allowed.
    TooLarge,
    /// Not of our making, for something or somebody else, or changed since.
    Forged,
    /// Too old.
    Expired,
}

const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 24;
const EXPIRY_BYTES: usize = 8;

/// Seals and opens. The first key seals; every key opens, so that keys can be rotated with an overlap. A clone has the
/// same keys, whatever is rotated later.
#[derive(Clone)]
pub struct Seal {
    ciphers: Arc<RwLock<Vec<XChaCha20Poly1305>>>,
    /// What it seals is for.
    scope: Arc<str>,
}

/// What was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What was sealed.
    pub plain: Vec<u8>,
    /// Which seal it is: no two are alike.
    pub number: u128,
}

impl Seal {
    /// A seal with these keys, newest first. Processes that share them open each other's seals. Without any, it has a
    /// fresh one.
    pub fn new(keys: &[SealKey]) -> Self {
        if keys.is_empty() {
            return Self::generate();
        }
        let ciphers = keys.iter().map(|key| XChaCha20Poly1305::new(&Key::from(*key))).collect();
        Self { ciphers: Arc::new(RwLock::new(ciphers)), scope: "".into() }
    }

    /// The same keys for what is of `scope`: what is sealed there is opened there only.
    #[must_use]
    pub fn scoped(&self, scope: &str) -> Self {
        Self { ciphers: self.ciphers.clone(), scope: scope.into() }
    }

    /// A seal with a fresh key, which is lost with the process.
    pub fn generate() -> Self {
        Self::new(&[random()])
    }

    /// Seals with `key` from now on; the `overlap` newest keys before it still open.
    pub fn rotate(&self, key: &SealKey, overlap: usize) {
        let mut ciphers = self.ciphers.write().unwrap_or_else(PoisonError::into_inner);
        ciphers.insert(0, XChaCha20Poly1305::new(&Key::from(*key)));
        ciphers.truncate(overlap + 1);
    }

    /// Seals `plain` for `purpose`, for whoever and whatever `binding` names, until `expires_at_ms` of the wall clock.
    pub fn seal(&self, purpose: &str, binding: &[&[u8]], expires_at_ms: u64, plain: &[u8]) -> String {
        let nonce: [u8; NONCE_BYTES] = random();
        let mut message = expires_at_ms.to_be_bytes().to_vec();
        message.extend_from_slice(plain);
        let aad = associated(purpose, &self.scope, binding);
        let payload = Payload { msg: &message, aad: &aad };
        let ciphers = self.ciphers.read().unwrap_or_else(PoisonError::into_inner);
        let sealed =
            ciphers[0].encrypt(&XNonce::from(nonce), payload).expect("messages are far below the cipher's limit");
        let mut token = vec![FORMAT];
        token.extend_from_slice(&nonce);
        token.extend_from_slice(&sealed);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Opens what [`Seal::seal`] made with the same purpose and binding.
    ///
    /// # Errors
    /// See [`SealError`]. Which part was wrong is not told.
    pub fn open(
        &self,
        purpose: &str,
        binding: &[&[u8]],
        now_ms: u64,
        bytes_max: usize,
        token: &str,
    ) -> Result<Opened, SealError> {
        if token.len() > bytes_max {
            return Err(SealError::TooLarge);
        }
        let token = URL_SAFE_NO_PAD.decode(token).map_err(|_| SealError::Forged)?;
        let Some((&FORMAT, rest)) = token.split_first() else { return Err(SealError::Forged) };
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::Forged)?;
        let aad = associated(purpose, &self.scope, binding);
        let ciphers = self.ciphers.read().unwrap_or_else(PoisonError::into_inner);
        let message = ciphers
            .iter()
            .find_map(|cipher| cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad }).ok())
            .ok_or(SealError::Forged)?;
        let (expires, plain) = message.split_first_chunk::<EXPIRY_BYTES>().ok_or(SealError::Forged)?;
        if u64::from_be_bytes(*expires) <= now_ms {
            return Err(SealError::Expired);
        }
        let number = nonce.first_chunk().map_or(0, |start| u128::from_be_bytes(*start));
        Ok(Opened { plain: plain.to_vec(), number })
    }
}

/// Bytes of the operating system's generator.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// Every part with its length, so that no two different bindings read alike.
fn associated(purpose: &str, scope: &str, binding: &[&[u8]]) -> Vec<u8> {
    let mut text = Vec::new();
    for part in [purpose.as_bytes(), scope.as_bytes()].iter().chain(binding) {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part);
    }
    text
}

#[cfg(test)]
mod tests;
