//! The grants: how each flow comes to its token.

use url::Url;
use zeroize::Zeroizing;

use super::{Flow, OAuth};
use crate::agent::{AuthorizationRequest, UserAgent};
use crate::error::{AuthError, shown};
use crate::jwt::{digest, random_text};
use crate::metadata::{Discovered, ServerMetadata};
use crate::registration::{ClientCredentials, register};
use crate::store::Stored;
use crate::token::{ClientAuth, Token, request};

const CODE: &str = "authorization_code";
const CLIENT: &str = "client_credentials";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";

impl OAuth {
    /// A token by the flow of this client.
    pub(super) async fn grant(
        &self,
        discovered: &Discovered,
        scope: Option<&str>,
        known: Option<&Stored>,
    ) -> Result<Token, AuthError> {
        let resource = discovered.resource.as_ref().map(|resource| resource.resource.as_str());
        let mut fields = Vec::new();
        fields.extend(scope.map(|scope| ("scope", scope)));
        fields.extend(resource.map(|resource| ("resource", resource)));
        let server = &discovered.server;
        match &self.0.flow {
            Flow::Interactive(agent) => {
                let kept = known.and_then(|stored| stored.client.clone());
                let is_kept = kept.is_some() && self.registered_at(server).is_err();
                match self.by_code(agent.as_ref(), server, scope, resource, kept).await {
                    Err(error) if is_kept && error.is_invalid_client() => {
                        tracing::debug!(issuer = shown(&server.issuer), "forgotten there: registers anew");
                        self.by_code(agent.as_ref(), server, scope, resource, None).await
                    }
                    granted => granted,
                }
            }
            Flow::ClientCredentials => {
                fields.push(("grant_type", CLIENT));
                let credentials = self.registered_at(server)?;
                self.request(server, &ClientAuth::Credentials(&credentials), &fields).await
            }
            Flow::ClientCredentialsJwt(key) => {
                fields.push(("grant_type", CLIENT));
                let credentials = self.registered_at(server)?;
                let auth = ClientAuth::Assertion { client_id: &credentials.client_id, key };
                self.request(server, &auth, &fields).await
            }
            Flow::EnterpriseManaged { idp_client_id, id_token, idp_token_endpoint } => {
                let credentials = self.registered_at(server)?;
                let resource = resource.unwrap_or(&self.0.server);
                let assertion = self.exchange(server, resource, scope, (idp_client_id, id_token, idp_token_endpoint));
                let assertion = assertion.await?;
                fields.extend([("grant_type", JWT_BEARER), ("assertion", assertion.as_str())]);
                self.request(server, &ClientAuth::Credentials(&credentials), &fields).await
            }
            Flow::WorkloadIdentity(assertion) => {
                let credentials = self.registered_at(server)?;
                fields.extend([("grant_type", JWT_BEARER), ("assertion", assertion.as_str())]);
                self.request(server, &ClientAuth::Credentials(&credentials), &fields).await
            }
        }
    }

    /// A new token for the refresh token, of the same issuer and for the same resource.
    pub(super) async fn refresh(&self) -> Result<(), AuthError> {
        // A refresh token may be good for one use only, whichever process makes it.
        let _held = self.hold().await?;
        let issuer = self.state().issuer.clone().unwrap_or_default();
        let stored = self.0.store.load(&self.0.server).await?.remove(&issuer).unwrap_or_default();
        if self.take_theirs(&issuer, &stored) {
            return Ok(());
        }
        let refresh_token = self.state().token.as_ref().and_then(|token| token.refresh_token.clone());
        let refresh_token = refresh_token.map(Zeroizing::new);
        let Some(refresh_token) = refresh_token else {
            return Err(AuthError::Denied("there is no refresh token".to_owned()));
        };
        let known = self.state().discovered.clone().filter(|discovered| discovered.server.issuer == issuer);
        let discovered = match known {
            Some(discovered) => discovered,
            None => crate::metadata::discover(&self.0.net, &self.0.server_url, None, |known| known == issuer).await?,
        };
        if discovered.server.issuer != issuer {
            return Err(AuthError::Metadata("the server has another authorization server now".to_owned()));
        }
        let registered = self.registered_at(&discovered.server);
        let is_kept = registered.is_err();
        let credentials = match (registered, stored.client) {
            (Ok(credentials), _) | (Err(_), Some(credentials)) => credentials,
            (Err(error), None) => return Err(error),
        };
        let mut fields = vec![("grant_type", "refresh_token"), ("refresh_token", refresh_token.as_str())];
        let resource = discovered.resource.as_ref().map(|resource| resource.resource.as_str());
        fields.extend(resource.map(|resource| ("resource", resource)));
        let auth = ClientAuth::Credentials(&credentials);
        let refreshed = self.request(&discovered.server, &auth, &fields).await;
        if is_kept && refreshed.as_ref().is_err_and(AuthError::is_invalid_client) {
            // The issuer has forgotten who we are: whoever asks next registers anew.
            self.change(&issuer, |stored| stored.client = None).await?;
        }
        let mut token = refreshed?;
        // A server that does not rotate them leaves them out.
        token.refresh_token.get_or_insert_with(|| refresh_token.to_string());
        self.state().discovered = Some(discovered);
        self.keep(token).await
    }

    /// Takes the token that another process got in the meantime, if it did. Whether it is good for now.
    fn take_theirs(&self, issuer: &str, stored: &Stored) -> bool {
        let mut state = self.state();
        let theirs = stored.token.as_ref().filter(|_| stored.is_usable());
        if theirs.is_none() || theirs == state.token.as_ref() {
            return false;
        }
        let requested = std::mem::take(&mut state.requested);
        state.take_up(issuer, Some(stored));
        if state.requested.is_empty() {
            state.requested = requested;
        }
        state.token.as_ref().is_some_and(|token| !token.is_old())
    }

    async fn by_code(
        &self,
        agent: &dyn UserAgent,
        server: &ServerMetadata,
        scope: Option<&str>,
        resource: Option<&str>,
        kept: Option<ClientCredentials>,
    ) -> Result<Token, AuthError> {
        let has_pkce =
            server.code_challenge_methods_supported.as_ref().is_some_and(|all| all.iter().any(|it| it == "S256"));
        if !has_pkce {
            let why = format!("{} does not say that it supports PKCE with S256", shown(&server.issuer));
            return Err(AuthError::Unsafe(why));
        }
        let endpoint = server.authorization_endpoint.as_deref();
        let endpoint = endpoint.ok_or_else(|| AuthError::Metadata("it has no authorization endpoint".to_owned()))?;
        let redirect_uri = agent.redirect_uri().await?;
        let credentials = self.client_at(server, &redirect_uri, kept).await?;
        let (state, verifier) = (random_text()?, Zeroizing::new(random_text()?));
        // The endpoint may have a query of its own.
        let mut url = Url::parse(endpoint).map_err(|error| AuthError::Metadata(error.to_string()))?;
        // Checked as if it were asked by us: it is going to be shown to a browser.
        drop(self.0.net.request(reqwest::Method::GET, endpoint)?);
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("response_type", "code").append_pair("client_id", &credentials.client_id);
            query.append_pair("redirect_uri", &redirect_uri).append_pair("state", &state);
            query.append_pair("code_challenge", &digest(&verifier)).append_pair("code_challenge_method", "S256");
            if let Some(scope) = scope {
                query.append_pair("scope", scope);
                if scope.split(' ').any(|word| word == "offline_access") {
                    query.append_pair("prompt", "consent");
                }
            }
            if let Some(resource) = resource {
                query.append_pair("resource", resource);
            }
        }
        let request = AuthorizationRequest { url: url.into(), redirect_uri: redirect_uri.clone() };
        let redirect = agent.authorize(&request).await?;
        let code = read_redirect(&redirect, &redirect_uri, &state, server)?;
        let mut fields = vec![
            ("grant_type", CODE),
            ("code", code.as_str()),
            ("redirect_uri", redirect_uri.as_str()),
            ("code_verifier", verifier.as_str()),
        ];
        fields.extend(resource.map(|resource| ("resource", resource)));
        self.request(server, &ClientAuth::Credentials(&credentials), &fields).await
    }

    /// The identity provider's word for the user, addressed to `server`.
    async fn exchange(
        &self,
        server: &ServerMetadata,
        resource: &str,
        scope: Option<&str>,
        (client_id, id_token, endpoint): (&str, &str, &str),
    ) -> Result<String, AuthError> {
        let idp = ServerMetadata {
            issuer: String::new(),
            token_endpoint: endpoint.to_owned(),
            authorization_endpoint: None,
            registration_endpoint: None,
            scopes_supported: None,
            token_endpoint_auth_methods_supported: None,
            code_challenge_methods_supported: None,
            client_id_metadata_document_supported: false,
            authorization_response_iss_parameter_supported: false,
            dpop_signing_alg_values_supported: None,
        };
        let mut fields = vec![
            ("grant_type", EXCHANGE),
            ("requested_token_type", ID_JAG),
            ("subject_token", id_token),
            ("subject_token_type", ID_TOKEN),
            ("audience", server.issuer.as_str()),
            ("resource", resource),
        ];
        fields.extend(scope.map(|scope| ("scope", scope)));
        let credentials = ClientCredentials::new(client_id, None);
        let granted = request(&self.0.net, &idp, &ClientAuth::Credentials(&credentials), &fields, None).await?;
        Ok(granted.access_token.clone())
    }

    async fn request(
        &self,
        server: &ServerMetadata,
        auth: &ClientAuth<'_>,
        fields: &[(&str, &str)],
    ) -> Result<Token, AuthError> {
        // Nobody else uses it: whoever gets a token holds the flight.
        let mut prover = self.state().prover.clone();
        let granted = request(&self.0.net, server, auth, fields, prover.as_mut()).await;
        if let Some(used) = prover {
            let mut state = self.state();
            if let Some(prover) = &mut state.prover {
                prover.authorization_nonce = used.authorization_nonce;
            }
        }
        match granted {
            Ok(token) if !token.is_for_requests() => Err(AuthError::Token {
                code: "invalid_response".to_owned(),
                description: "a token that no request can carry".to_owned(),
            }),
            granted => granted,
        }
    }

    /// What was registered by hand, if it is for this issuer.
    fn registered_at(&self, server: &ServerMetadata) -> Result<ClientCredentials, AuthError> {
        let is_theirs = |issuer: &Option<String>| match issuer {
            Some(issuer) => *issuer == server.issuer,
            None => *self.state().first_issuer.get_or_insert_with(|| server.issuer.clone()) == server.issuer,
        };
        match &self.0.registered {
            Some((issuer, credentials)) if is_theirs(issuer) => Ok(credentials.clone()),
            _ => Err(AuthError::Registration(format!("there are no credentials for {}", shown(&server.issuer)))),
        }
    }

    /// Who we are to `server`: known beforehand, kept from an earlier time, or registered now.
    async fn client_at(
        &self,
        server: &ServerMetadata,
        redirect_uri: &str,
        kept: Option<ClientCredentials>,
    ) -> Result<ClientCredentials, AuthError> {
        if let Ok(credentials) = self.registered_at(server) {
            return Ok(credentials);
        }
        // One that was registered for another port would be sent back to that.
        if let Some(client) = kept.filter(|client| client.redirect_uri.as_deref().is_none_or(|it| it == redirect_uri)) {
            return Ok(client);
        }
        let mut client = register(&self.0.net, server, &self.0.client, redirect_uri).await?;
        client.redirect_uri = Some(redirect_uri.to_owned());
        let _held = self.hold().await?;
        // What was granted to another client is of no use to this one.
        let stored = Stored { client: Some(client.clone()), ..Stored::default() };
        self.0.store.save(&self.0.server, &server.issuer, &stored).await?;
        Ok(client)
    }
}

/// The code, if the redirect is the answer to our request and comes from this server.
fn read_redirect(
    redirect: &str,
    redirect_uri: &str,
    state: &str,
    server: &ServerMetadata,
) -> Result<String, AuthError> {
    let bad = |why: &str| Err(AuthError::Unsafe(why.to_owned()));
    let Some(query) = redirect.strip_prefix(redirect_uri).and_then(|rest| rest.strip_prefix('?')) else {
        return bad("it redirects elsewhere than it was told to");
    };
    let query = query.split('#').next().unwrap_or_default();
    let values = |name: &str| {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.filter(|(known, _)| known == name).map(|(_, value)| value.into_owned()).collect::<Vec<_>>()
    };
    if values("state") != [state] {
        return bad("its answer is not to our request (state)");
    }
    // Before anything else of the answer is believed (RFC 9207, 2.4).
    match values("iss").as_slice() {
        [issuer] if *issuer == server.issuer => {}
        [] if !server.authorization_response_iss_parameter_supported => {}
        [] => return bad("its answer does not say who it is from, though it says that it would (iss)"),
        _ => return bad("its answer is from another issuer (iss)"),
    }
    if let [error] = values("error").as_slice() {
        let description = values("error_description").pop().unwrap_or_default();
        return Err(AuthError::Denied(format!("{} {}", shown(error), shown(&description)).trim().to_owned()));
    }
    match values("code").as_slice() {
        [code] => Ok(code.clone()),
        _ => bad("its answer has no code"),
    }
}
