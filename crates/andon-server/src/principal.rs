//! Who a request is from.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

/// The authenticated sender of a request. Only a verifier of credentials makes one that is not anonymous.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Principal(Option<Arc<Identity>>);

#[derive(PartialEq, Eq, Hash)]
struct Identity {
    subject: Arc<str>,
    scopes: Vec<String>,
}

impl Principal {
    /// Nobody in particular: there is no authentication, as on stdio.
    pub const fn anonymous() -> Self {
        Self(None)
    }

    /// For verifiers: the subject whose credentials were just checked, with the scopes that they grant.
    /// The subject has to be unique over all issuers that the verifier accepts.
    pub fn verified(subject: impl Into<Arc<str>>, scopes: impl IntoIterator<Item = String>) -> Self {
        Self(Some(Arc::new(Identity { subject: subject.into(), scopes: scopes.into_iter().collect() })))
    }

    /// The subject; `None` if anonymous.
    pub fn subject(&self) -> Option<&str> {
        self.0.as_ref().map(|identity| &*identity.subject)
    }

    /// Whether the credentials grant exactly this scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0.as_ref().is_some_and(|identity| identity.scopes.iter().any(|known| known == scope))
    }

    /// Whether the credentials grant all of these scopes; nobody in particular has none.
    pub fn has_scopes(&self, scopes: &[String]) -> bool {
        scopes.iter().all(|scope| self.has_scope(scope))
    }

    /// Whether both are the same subject, whatever each one's credentials grant.
    pub fn is_same_subject(&self, other: &Principal) -> bool {
        self.subject() == other.subject()
    }

    /// The subject, shared.
    pub(crate) fn shared_subject(&self) -> Option<Arc<str>> {
        self.0.as_ref().map(|identity| Arc::clone(&identity.subject))
    }

    /// Whether there is no authentication behind it.
    pub fn is_anonymous(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A subject may be an e-mail address: it does not belong in logs.
        f.write_str(if self.is_anonymous() { "Principal(anonymous)" } else { "Principal(..)" })
    }
}

/// Why a token was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenError {
    /// Unknown, expired, forged or for somebody else: 401.
    Invalid,
    /// Good, but not for this: 403. Names the scopes that are needed.
    InsufficientScope(Vec<String>),
    /// It cannot be checked now: 503.
    Unavailable,
}

/// Checks bearer tokens. Asked for each request: a session id is never proof of identity.
pub trait TokenVerifier: Send + Sync + 'static {
    /// Whose token it is.
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Principal, TokenError>>;
}
