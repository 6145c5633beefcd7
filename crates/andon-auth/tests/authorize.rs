//! What a client finds out before it shows itself to anybody, and what it believes of the answers.

mod common;

use andon_auth::{AuthError, ClientCredentials, MemoryStore, Stored, TokenStore as _};
use axum::http::{HeaderMap, Method, StatusCode};
use common::{Mock, REDIRECT};
use serde_json::{Value, json};

fn is_unsafe(outcome: &Result<StatusCode, AuthError>) -> bool {
    matches!(outcome, Err(AuthError::Unsafe(_)))
}

#[tokio::test]
async fn a_login_has_pkce_state_and_the_exact_resource() {
    let mock = Mock::start().await;
    assert_eq!(mock.call(&mock.oauth()).await.expect("logged in"), StatusCode::OK);
    let act = mock.act();
    let (asked, (_, exchanged)) = (&act.authorizations[0], &act.token_requests[0]);
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!((&asked["resource"], &exchanged["resource"]), (&mock.url(), &mock.url()));
    assert_eq!((asked["client_id"].as_str(), exchanged["client_id"].as_str()), ("client-1", "client-1"));
    assert_eq!(exchanged["redirect_uri"], REDIRECT);
    assert!(exchanged["code_verifier"].len() >= 43 && asked["state"].len() >= 43);
    assert!(!asked.contains_key("scope"));
    let registered = &act.registrations[0];
    assert_eq!(registered["application_type"], "native");
    assert!(registered["grant_types"].as_array().expect("a list").contains(&json!("refresh_token")));
}

#[tokio::test]
async fn a_resource_without_trailing_slash_is_echoed_byte_for_byte() {
    let mock = Mock::start().await;
    mock.act().resource_metadata = Some(json!({ "resource": mock.origin, "authorization_servers": [mock.origin] }));
    mock.call(&mock.oauth()).await.expect("logged in");
    assert_eq!(mock.act().authorizations[0]["resource"], mock.origin);
    assert_eq!(mock.act().token_requests[0].1["resource"], mock.origin);
}

#[tokio::test]
async fn issuer_mismatch_stops_before_any_endpoint_is_used() {
    let mock = Mock::start().await;
    for issuer in [format!("{}/", mock.origin), "https://other.example".to_owned()] {
        mock.act().server_metadata.as_mut().expect("metadata")["issuer"] = issuer.into();
        assert!(matches!(mock.call(&mock.oauth()).await, Err(AuthError::Metadata(_))));
    }
    let act = mock.act();
    assert_eq!((act.count("POST /register"), act.count("GET /authorize"), act.count("POST /token")), (0, 0, 0));
}

#[tokio::test]
async fn resource_mismatch_stops_before_the_authorization_server_is_asked() {
    let mock = Mock::start().await;
    mock.act().resource_metadata.as_mut().expect("metadata")["resource"] = "https://other.example/mcp".into();
    assert!(matches!(mock.call(&mock.oauth()).await, Err(AuthError::Metadata(_))));
    assert_eq!(mock.act().count("GET /.well-known/oauth-authorization-server"), 0);
}

#[tokio::test]
async fn a23_without_pkce_s256_the_client_refuses() {
    for methods in [Value::Null, json!([]), json!(["plain"])] {
        let mock = Mock::start().await;
        mock.act().server_metadata.as_mut().expect("metadata")["code_challenge_methods_supported"] = methods;
        assert!(is_unsafe(&mock.call(&mock.oauth()).await));
        assert_eq!(mock.act().count("GET /authorize"), 0);
    }
}

#[tokio::test]
async fn a24_an_answer_of_another_issuer_is_discarded_and_its_text_not_shown() {
    let mock = Mock::start().await;
    for wrong in ["https://other.example".to_owned(), format!("{}/", mock.origin)] {
        mock.act().redirect = Box::new(move |answer| {
            answer.remove("code");
            answer.extend([("iss".into(), wrong.clone()), ("error".into(), "call-this-number".into())]);
        });
        let outcome = mock.call(&mock.oauth()).await;
        assert!(is_unsafe(&outcome) && !format!("{outcome:?}").contains("call-this-number"));
    }
    assert_eq!(mock.act().count("POST /token"), 0);
}

#[tokio::test]
async fn a24_iss_is_demanded_only_where_it_was_promised() {
    let mock = Mock::start().await;
    mock.call(&mock.oauth()).await.expect("neither promised nor there");
    mock.act().accepted.clear();
    mock.act().server_metadata.as_mut().expect("metadata")["authorization_response_iss_parameter_supported"] =
        true.into();
    assert!(is_unsafe(&mock.call(&mock.oauth()).await));
    let origin = mock.origin.clone();
    mock.act().redirect = Box::new(move |answer| drop(answer.insert("iss".into(), origin.clone())));
    mock.call(&mock.oauth()).await.expect("promised and there");
}

#[tokio::test]
async fn a26_a_missing_or_replayed_state_is_discarded() {
    let mock = Mock::start().await;
    mock.call(&mock.oauth()).await.expect("logged in");
    let earlier = mock.act().authorizations[0]["state"].clone();
    mock.act().accepted.clear();
    for state in [None, Some(earlier), Some(String::new())] {
        mock.act().redirect = Box::new(move |answer| match &state {
            Some(state) => drop(answer.insert("state".into(), state.clone())),
            None => drop(answer.remove("state")),
        });
        assert!(is_unsafe(&mock.call(&mock.oauth()).await));
    }
    assert_eq!(mock.act().count("POST /token"), 1);
}

#[tokio::test]
async fn a25_metadata_that_leads_inside_is_refused() {
    for place in [
        "http://169.254.169.254/latest",
        "https://2852039166/x",
        "https://0xa9fea9fe/x",
        "https://[::ffff:a9fe:a9fe]/x",
        "https://10.0.0.1/x",
    ] {
        let mock = Mock::start().await;
        mock.act().challenge = format!("Bearer resource_metadata=\"{place}\"");
        assert!(matches!(mock.call(&mock.oauth()).await, Err(AuthError::Network(_))), "{place}");
        let mock = Mock::start().await;
        mock.act().server_metadata.as_mut().expect("metadata")["token_endpoint"] = place.into();
        assert!(matches!(mock.call(&mock.oauth()).await, Err(AuthError::Network(_))), "{place}");
    }
}

#[tokio::test]
async fn m21_an_authorization_endpoint_that_is_no_web_address_is_refused() {
    for endpoint in ["file:///etc/passwd", "javascript:alert(1)", "http://example.com/authorize", "a b; calc"] {
        let mock = Mock::start().await;
        mock.act().server_metadata.as_mut().expect("metadata")["authorization_endpoint"] = endpoint.into();
        assert!(mock.call(&mock.oauth()).await.is_err(), "{endpoint}");
        let act = mock.act();
        assert_eq!((act.authorizations.len(), act.token_requests.len()), (0, 0), "{endpoint}");
    }
}

#[tokio::test]
async fn cl4_credentials_go_to_no_other_origin() {
    let (mock, other) = (Mock::start().await, Mock::start().await);
    let oauth = mock.oauth();
    mock.call(&oauth).await.expect("logged in");
    let outcome = oauth.headers(&Method::POST, &other.url()).await;
    assert!(outcome.is_err_and(|error| !error.to_string().contains("access-")));
}

#[tokio::test]
async fn cl11_a_server_that_moves_gets_a_new_registration_at_its_new_issuer() {
    let (mock, other) = (Mock::start().await, Mock::start().await);
    let oauth = mock.oauth();
    mock.call(&oauth).await.expect("logged in");
    mock.act().accepted = vec!["access-of-the-other".into()];
    mock.act().resource_metadata.as_mut().expect("metadata")["authorization_servers"] = json!([other.origin]);
    // The resource server takes no token of either: what counts is who is asked for one.
    assert!(mock.call(&oauth).await.is_ok_and(|status| status == StatusCode::UNAUTHORIZED));
    assert_eq!(other.act().registrations.len(), 1);
    assert_eq!(mock.act().token_requests.len(), 1, "the first issuer is not asked again");
    let act = other.act();
    assert!(act.token_requests[0].1["grant_type"] == "authorization_code", "its refresh token stays with the first");
}

#[tokio::test]
async fn credentials_of_another_issuer_are_not_shown() {
    let mock = Mock::start().await;
    let credentials = ClientCredentials::new("mine", Some("secret".into()));
    let oauth = mock.builder().registered(Some("https://other.example".into()), credentials).build().expect("a client");
    mock.call(&oauth).await.expect("registers instead");
    assert_eq!(mock.act().authorizations[0]["client_id"], "client-1");
    assert!(!mock.act().token_requests[0].0.contains_key("authorization"));
}

#[tokio::test]
async fn servers_without_any_metadata_have_their_endpoints_at_the_root() {
    let mock = Mock::start().await;
    mock.act().challenge = "Bearer".into();
    mock.act().resource_metadata = None;
    mock.act().server_metadata = None;
    assert_eq!(mock.call(&mock.oauth()).await.expect("logged in"), StatusCode::OK);
    let seen = mock.act().seen.clone();
    let first = seen.iter().position(|seen| seen.ends_with("protected-resource/mcp")).expect("with the path first");
    assert!(seen[first + 1].ends_with("protected-resource"), "{seen:?}");
}

#[tokio::test]
async fn a_token_of_an_earlier_run_is_used_without_asking_the_person() {
    let mock = Mock::start().await;
    mock.act().accepted = vec!["kept".into()];
    let store = MemoryStore::default();
    let token = |text: &str| serde_json::from_value(json!({ "access_token": text, "token_type": "Bearer" })).ok();
    // Of two issuers, one that is of no use any more.
    let stored = |text: &str| Stored { token: token(text), ..Stored::default() };
    store.save(&mock.url(), &mock.origin, &stored("kept")).await.expect("kept");
    store.save(&mock.url(), "https://old.example", &stored("old")).await.expect("kept");
    let oauth = mock.builder().store(store).build().expect("a client");
    assert_eq!(mock.call(&oauth).await.expect("known"), StatusCode::OK);
    assert_eq!(mock.act().count("GET /authorize"), 0);
}

#[tokio::test]
async fn a_403_that_is_not_about_scopes_is_the_callers() {
    let mock = Mock::start().await;
    let oauth = mock.oauth();
    let nothing = HeaderMap::new();
    assert!(!oauth.challenged(StatusCode::FORBIDDEN, &nothing, &nothing).await.expect("nothing to do"));
    assert!(mock.act().seen.is_empty());
}
