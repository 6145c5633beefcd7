//! Who guards this server? Protected resource metadata (RFC 9728), then authorization server metadata (RFC 8414 and
//! OpenID Connect Discovery), in the order of the specification (authorization, "Authorization Server Discovery").

use http::StatusCode;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::error::{AuthError, shown};
use crate::net::{Net, failed};

/// What a protected resource says of itself.
#[derive(Debug, Clone, Deserialize, PartialEq)]
pub(crate) struct ResourceMetadata {
    /// Compared and sent byte for byte.
    pub(crate) resource: String,
    #[serde(default)]
    pub(crate) authorization_servers: Vec<String>,
    pub(crate) scopes_supported: Option<Vec<String>>,
}

/// What an authorization server says of itself.
#[derive(Debug, Clone, Deserialize, PartialEq)]
pub(crate) struct ServerMetadata {
    /// Compared byte for byte.
    pub(crate) issuer: String,
    pub(crate) authorization_endpoint: Option<String>,
    pub(crate) token_endpoint: String,
    pub(crate) registration_endpoint: Option<String>,
    pub(crate) scopes_supported: Option<Vec<String>>,
    pub(crate) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    pub(crate) code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) client_id_metadata_document_supported: bool,
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
    pub(crate) dpop_signing_alg_values_supported: Option<Vec<String>>,
}

/// A server and its guard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Discovered {
    /// `None` before 2025-06-18, where servers have no such metadata.
    pub(crate) resource: Option<ResourceMetadata>,
    pub(crate) server: ServerMetadata,
}

/// Finds both. `named` is the metadata URL of the challenge; `is_known` tells for which issuers this client has
/// credentials, which are preferred among several.
pub(crate) async fn discover(
    net: &Net,
    server_url: &Url,
    named: Option<&str>,
    is_known: impl Fn(&str) -> bool,
) -> Result<Discovered, AuthError> {
    let Some(resource) = resource(net, server_url, named).await? else {
        return Ok(Discovered { resource: None, server: without_resource_metadata(net, server_url).await? });
    };
    if !covers(&resource.resource, server_url) {
        let why = format!("it is about {}, and not about {server_url}", shown(&resource.resource));
        return Err(AuthError::Metadata(why));
    }
    let issuers = &resource.authorization_servers;
    let issuer = issuers.iter().find(|issuer| is_known(issuer)).or(issuers.first());
    let issuer = issuer.ok_or_else(|| AuthError::Metadata("it names no authorization server".to_owned()))?;
    let server = server(net, issuer).await?;
    Ok(Discovered { resource: Some(resource), server })
}

async fn resource(net: &Net, server_url: &Url, named: Option<&str>) -> Result<Option<ResourceMetadata>, AuthError> {
    const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
    if let Some(named) = named {
        let found = fetch(net, named).await?;
        return found.map(Some).ok_or_else(|| {
            AuthError::Metadata(format!("the server's challenge names {}, and there is nothing", shown(named)))
        });
    }
    let origin = server_url.origin().ascii_serialization();
    let path = server_url.path().trim_end_matches('/');
    if !path.is_empty()
        && let Some(found) = fetch(net, &format!("{origin}{WELL_KNOWN}{path}")).await?
    {
        return Ok(Some(found));
    }
    fetch(net, &format!("{origin}{WELL_KNOWN}")).await
}

async fn server(net: &Net, issuer: &str) -> Result<ServerMetadata, AuthError> {
    let parsed = Url::parse(issuer).map_err(|error| AuthError::Metadata(format!("{}: {error}", shown(issuer))))?;
    let origin = parsed.origin().ascii_serialization();
    let path = parsed.path().trim_end_matches('/');
    let mut places = vec![
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        format!("{origin}/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("{origin}{path}/.well-known/openid-configuration"));
    }
    for place in places {
        let Some(found) = fetch::<ServerMetadata>(net, &place).await? else { continue };
        // Otherwise one server could speak for another (RFC 8414, 3.3).
        if found.issuer != issuer {
            let why = format!("{} says that it is {}", shown(issuer), shown(&found.issuer));
            return Err(AuthError::Metadata(why));
        }
        return Ok(found);
    }
    Err(AuthError::Metadata(format!("{} has no authorization server metadata", shown(issuer))))
}

/// Servers of 2025-03-26: the authorization server is the server's own origin, with or without metadata.
async fn without_resource_metadata(net: &Net, server_url: &Url) -> Result<ServerMetadata, AuthError> {
    let origin = server_url.origin().ascii_serialization();
    let place = format!("{origin}/.well-known/oauth-authorization-server");
    if let Some(found) = fetch::<ServerMetadata>(net, &place).await? {
        if found.issuer.trim_end_matches('/') != origin {
            return Err(AuthError::Metadata(format!("{origin} says that it is {}", shown(&found.issuer))));
        }
        return Ok(found);
    }
    Ok(ServerMetadata {
        issuer: origin.clone(),
        authorization_endpoint: Some(format!("{origin}/authorize")),
        token_endpoint: format!("{origin}/token"),
        registration_endpoint: Some(format!("{origin}/register")),
        scopes_supported: None,
        token_endpoint_auth_methods_supported: None,
        // That revision demands PKCE of all.
        code_challenge_methods_supported: Some(vec!["S256".to_owned()]),
        client_id_metadata_document_supported: false,
        authorization_response_iss_parameter_supported: false,
        dpop_signing_alg_values_supported: None,
    })
}

/// A document; `None` if there is none.
async fn fetch<T: DeserializeOwned>(net: &Net, url: &str) -> Result<Option<T>, AuthError> {
    let request = net.request(Method::GET, url)?.header("accept", "application/json");
    let response = request.send().await.map_err(|error| failed(&error))?;
    match response.status() {
        StatusCode::OK => {}
        status if status.is_client_error() => return Ok(None),
        status => return Err(AuthError::Metadata(format!("{} answers with HTTP {status}", shown(url)))),
    }
    let body = net.body(response).await?;
    let read = serde_json::from_slice(&body);
    read.map(Some).map_err(|error| AuthError::Metadata(format!("{}: {error}", shown(url))))
}

/// Whether metadata about `resource` is about `server`: the same origin, and a path above or equal to it.
fn covers(resource: &str, server: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else { return false };
    let (above, below) = (resource.path().trim_end_matches('/'), server.path().trim_end_matches('/'));
    let is_above = below.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    resource.origin() == server.origin() && resource.fragment().is_none() && is_above
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::covers;

    #[test]
    fn metadata_is_about_the_server_or_what_is_above_it() {
        let server = Url::parse("https://mcp.example.com/team/mcp").expect("a URL");
        for good in [
            "https://mcp.example.com",
            "https://mcp.example.com/",
            "https://mcp.example.com/team",
            "https://mcp.example.com/team/mcp",
        ] {
            assert!(covers(good, &server), "{good}");
        }
        for bad in [
            "https://evil.example.com",
            "http://mcp.example.com",
            "https://mcp.example.com:444",
            "https://mcp.example.com/te",
            "https://mcp.example.com/team/mcp/more",
            "https://mcp.example.com/#x",
            "mcp",
        ] {
            assert!(!covers(bad, &server), "{bad}");
        }
    }
}
