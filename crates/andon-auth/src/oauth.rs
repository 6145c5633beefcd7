//! The whole of it: challenges in, headers out.

mod grants;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use crate::agent::UserAgent;
use crate::challenge::{Challenge, challenges};
use crate::dpop::{Prover, nonce_of};
use crate::error::{AuthError, shown};
use crate::jwt::SigningKey;
use crate::metadata::{Discovered, discover};
use crate::net::{Net, Reach};
use crate::registration::{ClientCredentials, ClientMetadata};
use crate::store::{Held, MemoryStore, Stored, TokenStore};
use crate::token::Token;

const DPOP: &str = "dpop";
const DPOP_NONCE: &str = "dpop-nonce";

/// How a token is got.
#[derive(Clone)]
pub enum Flow {
    /// A person consents in a browser (authorization code with PKCE).
    Interactive(Arc<dyn UserAgent>),
    /// The program is the client and the user (client credentials, with its secret).
    ClientCredentials,
    /// The same, with an assertion that the program signs.
    ClientCredentialsJwt(SigningKey),
    /// The user's company grants access: an identity token is exchanged for a grant, and that for a token
    /// (enterprise-managed authorization).
    EnterpriseManaged {
        /// This client at the identity provider.
        idp_client_id: String,
        /// The user's identity token.
        id_token: String,
        /// Where the identity provider exchanges it.
        idp_token_endpoint: String,
    },
    /// The platform that the program runs on vouches for it by this assertion (workload identity, RFC 7523).
    WorkloadIdentity(String),
}

/// What a challenge for more permission leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScopeRule {
    /// What was asked for before, and what the challenge names (2026-07-28).
    #[default]
    Union,
    /// What the challenge names alone (up to 2025-11-25).
    Replace,
}

/// Gets and keeps the token for one MCP server and one user. Cheap to clone.
#[derive(Clone)]
pub struct OAuth(Arc<Inner>);

struct Inner {
    server_url: Url,
    /// The key in the store.
    server: String,
    net: Net,
    flow: Flow,
    client: ClientMetadata,
    /// Known beforehand, at this issuer or at any.
    registered: Option<(Option<String>, ClientCredentials)>,
    scopes: Option<String>,
    scope_rule: ScopeRule,
    store: Arc<dyn TokenStore>,
    state: Mutex<State>,
    /// Held by whoever gets a token, while the others wait for it.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    is_loaded: bool,
    issuer: Option<String>,
    token: Option<Token>,
    /// What the person was asked for.
    requested: BTreeSet<String>,
    discovered: Option<Discovered>,
    prover: Option<Prover>,
    /// Where credentials that name no issuer were shown first: they stay there.
    first_issuer: Option<String>,
    /// How many flights failed, and why the last one did.
    failures: u64,
    failure: Option<AuthError>,
}

impl State {
    /// Turns to `issuer` with what is kept for it, if that is of any use.
    fn take_up(&mut self, issuer: &str, known: Option<&Stored>) {
        let known = known.filter(|stored| stored.is_usable());
        let key = known.and_then(|stored| stored.dpop_key.as_ref());
        self.prover = key.and_then(|key| Prover::of(key).ok());
        let token = known.and_then(|stored| stored.token.clone());
        self.token = token.filter(|token| !token.is_dpop() || self.prover.is_some());
        let scope = self.token.as_ref().and_then(|token| token.scope.clone()).unwrap_or_default();
        self.requested = scope.split_ascii_whitespace().map(str::to_owned).collect();
        self.issuer = Some(issuer.to_owned());
    }
}

/// Why a token is wanted, and what the server's challenges said of it.
struct Wish<'a> {
    status: StatusCode,
    metadata: Option<&'a str>,
    scope: Option<&'a str>,
    /// A new one in any case.
    is_login: bool,
}

/// What an [`OAuth`] is made of.
pub struct OAuthBuilder {
    server_url: String,
    flow: Option<Flow>,
    client: ClientMetadata,
    registered: Option<(Option<String>, ClientCredentials)>,
    scopes: Option<String>,
    scope_rule: ScopeRule,
    store: Arc<dyn TokenStore>,
    reach: Option<Reach>,
}

impl OAuthBuilder {
    /// How a token is got. Default: interactively, in the person's browser.
    #[must_use]
    pub fn flow(mut self, flow: Flow) -> Self {
        self.flow = Some(flow);
        self
    }

    /// Asks the person in this way.
    #[must_use]
    pub fn interactive(self, agent: impl UserAgent + 'static) -> Self {
        self.flow(Flow::Interactive(Arc::new(agent)))
    }

    /// What the person and the authorization server are told about this client.
    #[must_use]
    pub fn client(mut self, client: ClientMetadata) -> Self {
        self.client = client;
        self
    }

    /// Credentials that were registered by hand, at `issuer` or at the first one that the server names. They are shown
    /// to no other issuer.
    #[must_use]
    pub fn registered(mut self, issuer: Option<String>, credentials: ClientCredentials) -> Self {
        self.registered = Some((issuer, credentials));
        self
    }

    /// Asks for these scopes, whatever the server's metadata list. A challenge that names others still counts.
    #[must_use]
    pub fn scopes(mut self, scopes: impl Into<String>) -> Self {
        self.scopes = Some(scopes.into());
        self
    }

    /// What a challenge for more permission leads to.
    #[must_use]
    pub fn scope_rule(mut self, rule: ScopeRule) -> Self {
        self.scope_rule = rule;
        self
    }

    /// Where tokens are kept. Default: in memory.
    #[must_use]
    pub fn store(mut self, store: impl TokenStore + 'static) -> Self {
        self.store = Arc::new(store);
        self
    }

    /// Which addresses metadata may lead to. Default: public ones, and those as near as the server itself.
    #[must_use]
    pub fn reach(mut self, reach: Reach) -> Self {
        self.reach = Some(reach);
        self
    }

    /// # Errors
    /// When the server's URL is none.
    pub fn build(self) -> Result<OAuth, AuthError> {
        let server_url = Url::parse(&self.server_url)
            .map_err(|error| AuthError::Metadata(format!("{}: {error}", shown(&self.server_url))))?;
        let net = Net::new(self.reach.unwrap_or_else(|| Reach::of(&server_url)))?;
        let flow = self.flow.unwrap_or_else(|| Flow::Interactive(Arc::new(crate::agent::Loopback::default())));
        Ok(OAuth(Arc::new(Inner {
            server_url,
            server: self.server_url,
            net,
            flow,
            client: self.client,
            registered: self.registered,
            scopes: self.scopes,
            scope_rule: self.scope_rule,
            store: self.store,
            state: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
        })))
    }
}

impl OAuth {
    /// For the MCP server at this URL.
    pub fn builder(server_url: impl Into<String>) -> OAuthBuilder {
        OAuthBuilder {
            server_url: server_url.into(),
            flow: None,
            client: ClientMetadata { name: "Andon".to_owned(), document_url: None, uri: None },
            registered: None,
            scopes: None,
            scope_rule: ScopeRule::default(),
            store: Arc::new(MemoryStore::default()),
            reach: None,
        }
    }

    /// The headers that a request with this method and URL gets: none as long as nobody asked for any. A token that
    /// ends soon is renewed first.
    ///
    /// # Errors
    /// When the URL is of another origin than the server, the store cannot be read, or a proof cannot be signed.
    pub async fn headers(&self, method: &Method, url: &str) -> Result<HeaderMap, AuthError> {
        let is_elsewhere = || Url::parse(url).ok().is_none_or(|url| url.origin() != self.0.server_url.origin());
        if url != self.0.server_url.as_str() && is_elsewhere() {
            let why = format!("{} is not at {}: credentials are not sent there", shown(url), self.0.server_url);
            return Err(AuthError::Network(why));
        }
        self.load().await?;
        let is_old = |token: &Token| token.is_old() && token.refresh_token.is_some();
        if self.state().token.as_ref().is_some_and(is_old) {
            let _flight = self.0.flight.lock().await;
            if self.state().token.as_ref().is_some_and(is_old) {
                // If that fails, the server's refusal of the old token leads to a new one.
                if let Err(error) = Box::pin(self.refresh()).await {
                    tracing::debug!(%error, "the token could not be renewed");
                }
            }
        }
        let mut headers = HeaderMap::new();
        let state = self.state();
        let Some(token) = &state.token else { return Ok(headers) };
        headers.insert(AUTHORIZATION, header_of(token)?);
        if let (true, Some(prover)) = (token.is_dpop(), &state.prover) {
            let proof = prover.at_resource(method.as_str(), url, &token.access_token)?;
            headers.insert(DPOP, sensitive(&proof)?);
        }
        Ok(headers)
    }

    /// Whether it is known that there is no token, and so no header, for requests to `url`.
    pub fn has_none_for(&self, url: &str) -> bool {
        let state = self.state();
        state.is_loaded && state.token.is_none() && url == self.0.server_url.as_str()
    }

    /// The server answered with 401 or 403. Does what it asks for: a nonce, a token, more permission. Whether the
    /// request should be sent again. `used` are the headers that it had, so that many refusals of one token lead to one
    /// new token.
    ///
    /// # Errors
    /// When there is no token to be had; the message says why.
    pub async fn challenged(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        used: &HeaderMap,
    ) -> Result<bool, AuthError> {
        let all: Vec<Challenge> = challenges(headers).into_iter().filter(Challenge::is_oauth).collect();
        let says = |error: &str| all.iter().any(|challenge| challenge.get("error") == Some(error));
        if status == StatusCode::FORBIDDEN && !says("insufficient_scope") {
            return Ok(false);
        }
        let failures = self.state().failures;
        let _flight = self.0.flight.lock().await;
        self.load().await?;
        if says("use_dpop_nonce") && self.take_nonce(headers, used) {
            return Ok(true);
        }
        let newer = self.state().token.as_ref().map(header_of).transpose()?;
        if newer.is_some() && newer.as_ref() != used.get(AUTHORIZATION) {
            // Another request has got a new one in the meantime.
            return Ok(true);
        }
        {
            let state = self.state();
            if let (Some(failure), true) = (&state.failure, state.failures != failures) {
                // What was waited for has failed: the person is not asked once for each who waited.
                return Err(failure.clone());
            }
        }
        let named = |name: &str| all.iter().find_map(|challenge| challenge.get(name));
        let wish = Wish { status, metadata: named("resource_metadata"), scope: named("scope"), is_login: false };
        let outcome = self.get_token(wish).await;
        if let Err(failure) = &outcome {
            let mut state = self.state();
            state.failures += 1;
            state.failure = Some(failure.clone());
        }
        outcome.map(|()| true)
    }

    /// The server answered, whatever it says: the nonce that it wants in the next proof is remembered (RFC 9449, 9).
    pub fn answered<'a>(&self, header: impl Fn(&str) -> Option<&'a str>) {
        if let (Some(nonce), Some(prover)) = (header(DPOP_NONCE), &mut self.state().prover) {
            prover.resource_nonce = Some(nonce.to_owned());
        }
    }

    /// Gets a token now, whether or not the server has asked for one.
    ///
    /// # Errors
    /// When there is none to be had; the message says why.
    pub async fn login(&self) -> Result<(), AuthError> {
        let _flight = self.0.flight.lock().await;
        self.load().await?;
        self.state().token = None;
        let wish = Wish { status: StatusCode::UNAUTHORIZED, metadata: None, scope: None, is_login: true };
        self.get_token(wish).await
    }

    /// Forgets the token and who we are.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn logout(&self) -> Result<(), AuthError> {
        let _flight = self.0.flight.lock().await;
        *self.state() = State { is_loaded: true, ..State::default() };
        self.0.store.remove(&self.0.server).await
    }

    /// The token as it is now.
    pub fn token(&self) -> Option<Token> {
        self.state().token.clone()
    }

    /// A nonce that the server wants in the proof of the next request (RFC 9449, 9). Whether that is all it wants.
    fn take_nonce(&self, headers: &HeaderMap, used: &HeaderMap) -> bool {
        let nonce = headers.get(DPOP_NONCE).and_then(|nonce| nonce.to_str().ok());
        let proof = used.get(DPOP).and_then(|proof| proof.to_str().ok());
        let (Some(nonce), Some(proof)) = (nonce, proof) else { return false };
        // The same nonce again would be refused again. What counts is what the request had, not what we know by now:
        // many requests may be refused for want of one nonce.
        if nonce_of(proof).as_deref() == Some(nonce) {
            return false;
        }
        let mut state = self.state();
        let Some(prover) = &mut state.prover else { return false };
        prover.resource_nonce = Some(nonce.to_owned());
        true
    }

    /// Finds out who guards the server, and gets a token there.
    async fn get_token(&self, wish: Wish<'_>) -> Result<(), AuthError> {
        let mut known = self.0.store.load(&self.0.server).await?;
        let is_known = |issuer: &str| {
            known.contains_key(issuer)
                || self.0.registered.as_ref().is_some_and(|(of, _)| of.as_deref() == Some(issuer))
        };
        // Each time anew: the server may have moved to another authorization server.
        let discovered = discover(&self.0.net, &self.0.server_url, wish.metadata, is_known).await?;
        let issuer = discovered.server.issuer.clone();
        let is_same = self.settle(&discovered, known.get(&issuer))?;
        if wish.status == StatusCode::UNAUTHORIZED && !wish.is_login {
            let (is_fresh, has_refresh) = {
                let state = self.state();
                let has_refresh = state.token.as_ref().is_some_and(|token| token.refresh_token.is_some());
                (state.token.as_ref().is_some_and(|token| !token.is_old()), has_refresh)
            };
            if !is_same && is_fresh {
                // This issuer granted it earlier, and the server has not seen it in this run.
                return Ok(());
            }
            if has_refresh && self.refresh().await.is_ok() {
                return Ok(());
            }
            // What was found out in trying: another process's registration, or that there is none any more.
            known = self.0.store.load(&self.0.server).await?;
        }
        let scope = self.choose_scope(wish.status, &discovered, wish.scope)?;
        let token = self.grant(&discovered, scope.as_deref(), known.get(&issuer)).await?;
        self.state().requested = scope.iter().flat_map(|scope| scope.split(' ')).map(str::to_owned).collect();
        let _held = self.hold().await?;
        self.keep(token).await
    }

    /// Turns to the issuer that was found. Whether it is the one from before.
    fn settle(&self, discovered: &Discovered, known: Option<&Stored>) -> Result<bool, AuthError> {
        let issuer = &discovered.server.issuer;
        let mut state = self.state();
        let is_same = state.issuer.as_ref() == Some(issuer);
        if !is_same {
            // Nothing of one issuer is shown to another.
            state.take_up(issuer, known);
        }
        if state.prover.is_none() && supports_dpop(discovered) {
            state.prover = Some(Prover::new()?);
        }
        state.discovered = Some(discovered.clone());
        Ok(is_same)
    }

    /// What to ask for: what the challenge names, else what the program wants, else what the resource lists
    /// (authorization, "Scope Selection Strategy").
    fn choose_scope(
        &self,
        status: StatusCode,
        discovered: &Discovered,
        challenged: Option<&str>,
    ) -> Result<Option<String>, AuthError> {
        let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let requested = self.state().requested.clone();
        let mut wanted: Vec<String> = match challenged {
            Some(challenged) => words(challenged),
            None => match &self.0.scopes {
                Some(scopes) => words(scopes),
                None => {
                    let listed = discovered.resource.as_ref().and_then(|resource| resource.scopes_supported.clone());
                    listed.unwrap_or_default()
                }
            },
        };
        if status == StatusCode::FORBIDDEN {
            if wanted.iter().all(|scope| requested.contains(scope)) {
                let why = format!("the server demands {:?}, which was asked for already", wanted.join(" "));
                return Err(AuthError::Insufficient(why));
            }
            if self.0.scope_rule == ScopeRule::Union {
                wanted.extend(requested.iter().filter(|scope| !wanted.contains(scope)).cloned().collect::<Vec<_>>());
            }
        }
        const OFFLINE: &str = "offline_access";
        let offers_offline =
            discovered.server.scopes_supported.as_ref().is_some_and(|all| all.iter().any(|scope| scope == OFFLINE));
        if offers_offline && matches!(self.0.flow, Flow::Interactive(_)) && !wanted.iter().any(|it| it == OFFLINE) {
            wanted.push(OFFLINE.to_owned());
        }
        Ok((!wanted.is_empty()).then(|| wanted.join(" ")))
    }

    /// What an earlier run of the program got.
    async fn load(&self) -> Result<(), AuthError> {
        if self.state().is_loaded {
            return Ok(());
        }
        let known = self.0.store.load(&self.0.server).await?;
        let mut state = self.state();
        if !state.is_loaded {
            state.is_loaded = true;
            if let Some((issuer, stored)) = known.iter().rfind(|(_, stored)| stored.is_usable()) {
                state.take_up(issuer, Some(stored));
            }
        }
        Ok(())
    }

    /// Keeps a new token, and what it is bound to. Whoever calls this holds the store.
    async fn keep(&self, token: Token) -> Result<(), AuthError> {
        let (issuer, dpop_key) = {
            let mut state = self.state();
            state.token = Some(token.clone());
            let prover = state.prover.as_ref().filter(|_| token.is_dpop());
            (state.issuer.clone().unwrap_or_default(), prover.map(|prover| prover.stored.clone()))
        };
        self.change(&issuer, |stored| {
            stored.token = Some(token);
            stored.dpop_key = dpop_key;
        })
        .await
    }

    /// Changes what is kept for `issuer`. Whoever calls this holds the store.
    async fn change(&self, issuer: &str, change: impl FnOnce(&mut Stored)) -> Result<(), AuthError> {
        let mut stored = self.0.store.load(&self.0.server).await?.remove(issuer).unwrap_or_default();
        change(&mut stored);
        self.0.store.save(&self.0.server, issuer, &stored).await
    }

    async fn hold(&self) -> Result<Held, AuthError> {
        self.0.store.hold(&self.0.server).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn supports_dpop(discovered: &Discovered) -> bool {
    let listed = discovered.server.dpop_signing_alg_values_supported.as_deref().unwrap_or_default();
    listed.iter().any(|name| name == "ES256")
}

fn header_of(token: &Token) -> Result<HeaderValue, AuthError> {
    let scheme = if token.is_dpop() { "DPoP" } else { "Bearer" };
    sensitive(&format!("{scheme} {}", token.access_token))
}

fn sensitive(text: &str) -> Result<HeaderValue, AuthError> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| AuthError::Key("a token that no header can carry".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}
