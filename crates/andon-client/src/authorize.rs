//! Who puts credentials on HTTP requests, and what happens when they do not suffice.

use std::fmt;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// Puts credentials on requests to one server and answers its challenges.
pub trait Authorizer: Send + Sync {
    /// The headers that a request with this method and URL gets. Asked for each request, and again when one is
    /// repeated.
    fn headers<'a>(&'a self, method: &'a Method, url: &'a str) -> BoxFuture<'a, Result<HeaderMap, AuthorizeError>>;

    /// The same headers, if they are known without waiting: asked first.
    fn known_headers(&self, _url: &str) -> Option<HeaderMap> {
        None
    }

    /// The server answered with 401 or 403. `used` are the headers that the refused request had, so that many
    /// refusals of one old token lead to one new one. Whether it makes sense to send the request again.
    fn challenged<'a>(
        &'a self,
        status: StatusCode,
        headers: &'a HeaderMap,
        used: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<bool, AuthorizeError>>;

    /// The server answered a request that had such headers, whatever it says: told before any challenge. For what it
    /// wants to see next time, such as a nonce (RFC 9449, 8.2). `header` gives the value of the first header with a name, if
    /// that is a text.
    fn answered<'a>(&self, _header: &dyn Fn(&str) -> Option<&'a str>) {}
}

/// Why there are no credentials.
#[derive(Debug)]
pub struct AuthorizeError(String);

impl AuthorizeError {
    /// An error that says what to do.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for AuthorizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AuthorizeError {}

/// A token that somebody else got, for `Authorization: Bearer`.
pub struct Bearer(HeaderValue);

impl Bearer {
    /// This token.
    ///
    /// # Errors
    /// When no header can carry it.
    pub fn new(token: &str) -> Result<Self, AuthorizeError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| AuthorizeError::new("a bearer token has visible ASCII characters only"))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    fn own_headers(&self) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, self.0.clone())])
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

impl Authorizer for Bearer {
    fn headers<'a>(&'a self, _method: &'a Method, _url: &'a str) -> BoxFuture<'a, Result<HeaderMap, AuthorizeError>> {
        let headers = self.own_headers();
        async { Ok(headers) }.boxed()
    }

    fn known_headers(&self, _url: &str) -> Option<HeaderMap> {
        Some(self.own_headers())
    }

    fn challenged<'a>(
        &'a self,
        _status: StatusCode,
        _headers: &'a HeaderMap,
        _used: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<bool, AuthorizeError>> {
        async { Ok(false) }.boxed()
    }
}

impl Authorizer for andon_auth::OAuth {
    fn headers<'a>(&'a self, method: &'a Method, url: &'a str) -> BoxFuture<'a, Result<HeaderMap, AuthorizeError>> {
        async move { self.headers(method, url).await.map_err(|error| AuthorizeError::new(error.to_string())) }.boxed()
    }

    fn known_headers(&self, url: &str) -> Option<HeaderMap> {
        self.has_none_for(url).then(HeaderMap::new)
    }

    fn challenged<'a>(
        &'a self,
        status: StatusCode,
        headers: &'a HeaderMap,
        used: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<bool, AuthorizeError>> {
        let answering = self.challenged(status, headers, used);
        async move { answering.await.map_err(|error| AuthorizeError::new(error.to_string())) }.boxed()
    }

    fn answered<'a>(&self, header: &dyn Fn(&str) -> Option<&'a str>) {
        self.answered(header);
    }
}
