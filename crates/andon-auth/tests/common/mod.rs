//! A resource server and its authorization server on one real socket, whose answers a test can change.

// Each test file uses its own part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use andon_auth::net::Reach;
use andon_auth::{AuthError, Headless, OAuth, OAuthBuilder};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

/// Where nothing listens: the browser of these tests only reads where it is sent.
pub(crate) const REDIRECT: &str = "http://localhost:3000/callback";

pub(crate) type Fields = BTreeMap<String, String>;

/// What the server does, and what it saw.
pub(crate) struct Act {
    pub(crate) resource_metadata: Option<Value>,
    pub(crate) server_metadata: Option<Value>,
    /// The `WWW-Authenticate` of a 401.
    pub(crate) challenge: String,
    /// Tokens that `/mcp` takes.
    pub(crate) accepted: Vec<String>,
    /// Whether what `/token` grants is accepted at once.
    pub(crate) accepts_new: bool,
    pub(crate) expires_in_s: Option<u64>,
    pub(crate) has_refresh: bool,
    /// Instead of the redirect's own parameters.
    pub(crate) redirect: Box<dyn Fn(&mut Fields) + Send>,
    pub(crate) refusal: Option<Value>,
    /// Scopes that `/mcp` demands, with 403.
    pub(crate) demanded_scope: Option<String>,
    /// The nonce that proofs at `/mcp` must have.
    pub(crate) nonce: Option<String>,
    /// What good answers of `/mcp` say of nonces.
    pub(crate) next_nonce: Option<String>,
    /// What good answers of `/token` say of nonces.
    pub(crate) token_nonce: Option<String>,
    /// Clients that `/token` does not know any more.
    pub(crate) forgotten: Vec<String>,
    /// Refresh tokens that were used: a second time they are refused.
    used: Vec<String>,
    /// The key of the proof with which each token was asked for.
    bound: BTreeMap<String, Value>,
    pub(crate) token_type: &'static str,
    /// `METHOD path`, in order.
    pub(crate) seen: Vec<String>,
    pub(crate) authorizations: Vec<Fields>,
    pub(crate) token_requests: Vec<(HeaderMap, Fields)>,
    pub(crate) registrations: Vec<Value>,
    /// The scope of each token.
    pub(crate) scopes: BTreeMap<String, String>,
    last_scope: String,
}

impl Act {
    /// Grants tokens that are bound to a key.
    pub(crate) fn binds(&mut self) {
        self.server_metadata.as_mut().expect("metadata")["dpop_signing_alg_values_supported"] = json!(["ES256"]);
        self.token_type = "DPoP";
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.seen.iter().filter(|seen| seen.as_str() == what).count()
    }
}

#[derive(Clone)]
pub(crate) struct Mock {
    pub(crate) origin: String,
    act: Arc<Mutex<Act>>,
}

impl Mock {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("bound"));
        let act = Act {
            resource_metadata: Some(json!({ "resource": format!("{origin}/mcp"), "authorization_servers": [origin] })),
            server_metadata: Some(metadata(&origin)),
            challenge: format!("Bearer resource_metadata=\"{origin}/.well-known/oauth-protected-resource/mcp\""),
            accepted: Vec::new(),
            accepts_new: true,
            expires_in_s: Some(3600),
            has_refresh: true,
            redirect: Box::new(|_| ()),
            refusal: None,
            demanded_scope: None,
            nonce: None,
            next_nonce: None,
            token_nonce: None,
            forgotten: Vec::new(),
            used: Vec::new(),
            bound: BTreeMap::new(),
            token_type: "Bearer",
            seen: Vec::new(),
            authorizations: Vec::new(),
            token_requests: Vec::new(),
            registrations: Vec::new(),
            scopes: BTreeMap::new(),
            last_scope: String::new(),
        };
        let mock = Self { origin, act: Arc::new(Mutex::new(act)) };
        let app = axum::Router::new().fallback(answer).with_state(mock.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        mock
    }

    pub(crate) fn act(&self) -> MutexGuard<'_, Act> {
        self.act.lock().expect("no panic")
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/mcp", self.origin)
    }

    /// With a browser that consents by itself.
    pub(crate) fn builder(&self) -> OAuthBuilder {
        OAuth::builder(self.url()).interactive(Headless::new(REDIRECT, Reach { loopback: true, private: false }))
    }

    pub(crate) fn oauth(&self) -> OAuth {
        self.builder().build().expect("a client")
    }

    /// One call of `/mcp` as a transport makes it: at most 5 requests.
    pub(crate) async fn call(&self, oauth: &OAuth) -> Result<StatusCode, AuthError> {
        let client = reqwest::Client::new();
        let mut left = 5;
        loop {
            left -= 1;
            let used = oauth.headers(&Method::POST, &self.url()).await?;
            let response = client.post(self.url()).headers(used.clone()).send().await.expect("an answer");
            let status = response.status();
            oauth.answered(|name| response.headers().get(name)?.to_str().ok());
            let is_refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            if left == 0 || !is_refused || !oauth.challenged(status, response.headers(), &used).await? {
                return Ok(status);
            }
        }
    }
}

pub(crate) fn metadata(origin: &str) -> Value {
    json!({
        "issuer": origin,
        "authorization_endpoint": format!("{origin}/authorize"),
        "token_endpoint": format!("{origin}/token"),
        "registration_endpoint": format!("{origin}/register"),
        "code_challenge_methods_supported": ["S256"],
    })
}

pub(crate) fn fields(text: &str) -> Fields {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

async fn answer(State(mock): State<Mock>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut act = mock.act();
    act.seen.push(format!("{method} {}", uri.path()));
    let document = |found: &Option<Value>| match found {
        Some(found) => found.to_string().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    };
    match uri.path() {
        "/.well-known/oauth-protected-resource/mcp" => document(&act.resource_metadata),
        "/.well-known/oauth-authorization-server" => document(&act.server_metadata),
        "/authorize" => authorize(&mut act, fields(uri.query().unwrap_or_default())),
        "/token" => token(&mut act, headers, fields(std::str::from_utf8(&body).expect("a form"))),
        "/register" => {
            act.registrations.push(serde_json::from_slice(&body).expect("JSON"));
            let id = format!("client-{}", act.registrations.len());
            (StatusCode::CREATED, json!({ "client_id": id }).to_string()).into_response()
        }
        "/mcp" => resource(&act, &headers),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn authorize(act: &mut Act, asked: Fields) -> Response {
    let mut answer = Fields::from([("code".into(), "the-code".into()), ("state".into(), asked["state"].clone())]);
    (act.redirect)(&mut answer);
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&answer).finish();
    let location = format!("{}?{query}", asked["redirect_uri"]);
    act.last_scope = asked.get("scope").cloned().unwrap_or_default();
    act.authorizations.push(asked);
    (StatusCode::FOUND, [("location", location)]).into_response()
}

fn token(act: &mut Act, headers: HeaderMap, asked: Fields) -> Response {
    let key = headers.get("dpop").map(|proof| header(proof.to_str().expect("text"))["jwk"].clone());
    let (client, refresh_token) = (asked.get("client_id").cloned(), asked.get("refresh_token").cloned());
    act.token_requests.push((headers, asked));
    if let Some(refusal) = &act.refusal {
        return (StatusCode::BAD_REQUEST, refusal.to_string()).into_response();
    }
    let refused = |error: &str| (StatusCode::BAD_REQUEST, json!({ "error": error }).to_string()).into_response();
    if client.is_some_and(|client| act.forgotten.contains(&client)) {
        return refused("invalid_client");
    }
    if let Some(refresh_token) = refresh_token {
        if act.used.contains(&refresh_token) {
            return refused("invalid_grant");
        }
        act.used.push(refresh_token);
    }
    let number = act.token_requests.len();
    let token = format!("access-{number}");
    let scope = act.last_scope.clone();
    act.bound.extend(key.map(|key| (token.clone(), key)));
    act.scopes.insert(token.clone(), scope);
    if act.accepts_new {
        act.accepted = vec![token.clone()];
    }
    let mut granted = json!({ "access_token": token, "token_type": act.token_type });
    if let Some(seconds) = act.expires_in_s {
        granted["expires_in"] = seconds.into();
    }
    if act.has_refresh {
        granted["refresh_token"] = format!("refresh-{number}").into();
    }
    let mut response = granted.to_string().into_response();
    announce(&mut response, act.token_nonce.as_deref());
    response
}

fn announce(response: &mut Response, nonce: Option<&str>) {
    if let Some(nonce) = nonce {
        response.headers_mut().insert("dpop-nonce", nonce.parse().expect("a header"));
    }
}

fn resource(act: &Act, headers: &HeaderMap) -> Response {
    let carried = headers.get("authorization").and_then(|value| value.to_str().ok()?.split_once(' '));
    let Some((_, token)) = carried.filter(|(_, token)| act.accepted.iter().any(|known| known == token)) else {
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", act.challenge.clone())]).into_response();
    };
    let proof = headers.get("dpop").map(|proof| proof.to_str().expect("text"));
    if let Some(key) = act.bound.get(token)
        && proof.is_none_or(|proof| header(proof)["jwk"] != *key)
    {
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", act.challenge.clone())]).into_response();
    }
    if let Some(nonce) = &act.nonce
        && claims(headers["dpop"].to_str().expect("text"))["nonce"] != nonce.as_str()
    {
        let challenge = "Bearer, DPoP error=\"use_dpop_nonce\"".to_owned();
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge), ("dpop-nonce", nonce.clone())])
            .into_response();
    }
    if let Some(demanded) = &act.demanded_scope {
        let granted = act.scopes.get(token).map(String::as_str).unwrap_or_default();
        if !granted.split(' ').any(|scope| scope == demanded) {
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{demanded}\"");
            return (StatusCode::FORBIDDEN, [("www-authenticate", challenge)]).into_response();
        }
    }
    let mut response = StatusCode::OK.into_response();
    announce(&mut response, act.next_nonce.as_deref());
    response
}

/// The header of a compact JWS.
fn header(jws: &str) -> Value {
    part(jws, 0)
}

/// The claims of a compact JWS, unverified.
pub(crate) fn claims(jws: &str) -> Value {
    part(jws, 1)
}

fn part(jws: &str, number: usize) -> Value {
    use base64::Engine as _;
    let part = jws.split('.').nth(number).expect("three parts");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}
