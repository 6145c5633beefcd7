//! Who are we to an authorization server: known beforehand, known by a document, or registered on the spot.

use std::fmt;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use crate::error::{AuthError, shown};
use crate::metadata::ServerMetadata;
use crate::net::{Net, failed};

/// What a client says of itself when it registers.
#[derive(Debug, Clone)]
pub struct ClientMetadata {
    /// For the person who is asked.
    pub name: String,
    /// Where the document with this metadata can be read, if it can: then it is the client's id (2025-11-25, "Client ID
    /// Metadata Documents").
    pub document_url: Option<String>,
    /// Where the person can read about it.
    pub uri: Option<String>,
}

/// Credentials of a client. They belong to one issuer and are never shown to another. Their `Debug` shows no secret, and
/// their memory is wiped when they are dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCredentials {
    /// The client's id.
    pub client_id: String,
    /// Its secret, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// How it authenticates at the token endpoint, if that is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_method: Option<String>,
    /// Where it was registered to be sent back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

impl Drop for ClientCredentials {
    fn drop(&mut self) {
        self.client_secret.zeroize();
    }
}

impl ClientCredentials {
    /// An id, and a secret if there is one.
    pub fn new(client_id: impl Into<String>, client_secret: Option<String>) -> Self {
        Self { client_id: client_id.into(), client_secret, token_endpoint_auth_method: None, redirect_uri: None }
    }

    /// How to authenticate at the token endpoint of `server`: as was settled, or the best that both can do.
    pub(crate) fn auth_method(&self, server: &ServerMetadata) -> String {
        let known = ["client_secret_basic", "client_secret_post", "none"];
        if let Some(settled) = &self.token_endpoint_auth_method
            && known.contains(&settled.as_str())
        {
            return settled.clone();
        }
        if self.client_secret.is_none() {
            return "none".to_owned();
        }
        let offered = server.token_endpoint_auth_methods_supported.as_deref();
        // Without a list, basic is what every server has to know (RFC 8414, 2).
        let offers = |method: &str| offered.is_none_or(|all| all.iter().any(|known| known == method));
        let best = ["client_secret_basic", "client_secret_post"].into_iter().find(|method| offers(method));
        best.unwrap_or("client_secret_basic").to_owned()
    }
}

/// Makes this client known to `server`, by its document or by dynamic registration (RFC 7591).
pub(crate) async fn register(
    net: &Net,
    server: &ServerMetadata,
    metadata: &ClientMetadata,
    redirect_uri: &str,
) -> Result<ClientCredentials, AuthError> {
    if let (Some(document), true) = (&metadata.document_url, server.client_id_metadata_document_supported) {
        return Ok(ClientCredentials::new(document.clone(), None));
    }
    let Some(endpoint) = &server.registration_endpoint else {
        let why = format!(
            "{} does not register clients: register this one by hand, and give its id (and secret)",
            shown(&server.issuer)
        );
        return Err(AuthError::Registration(why));
    };
    let body = request_body(server, metadata, redirect_uri);
    let request = net.request(Method::POST, endpoint)?;
    let request = request.header("content-type", "application/json").header("accept", "application/json");
    let response = request.body(body.to_string()).send().await.map_err(|error| failed(&error))?;
    let status = response.status();
    let answer = Zeroizing::new(net.body(response).await?);
    if !status.is_success() {
        let said: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let said = said["error_description"].as_str().or(said["error"].as_str()).unwrap_or_default();
        return Err(AuthError::Registration(format!("refused with HTTP {status}: {}", shown(said))));
    }
    serde_json::from_slice(&answer).map_err(|error| AuthError::Registration(format!("a bad answer: {error}")))
}

fn request_body(server: &ServerMetadata, metadata: &ClientMetadata, redirect_uri: &str) -> Value {
    let offered = server.token_endpoint_auth_methods_supported.as_deref().unwrap_or_default();
    let offers = |method: &str| offered.iter().any(|known| known == method);
    // A program on a person's machine keeps no secret well: none is best, if it may be.
    let method = if offered.is_empty() || offers("none") {
        "none"
    } else if offers("client_secret_basic") {
        "client_secret_basic"
    } else {
        "client_secret_post"
    };
    let is_local = redirect_uri.starts_with("http://");
    let mut body = json!({
        "client_name": metadata.name,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "application_type": if is_local { "native" } else { "web" },
    });
    if let Some(uri) = &metadata.uri {
        body["client_uri"] = uri.as_str().into();
    }
    body
}
