//! One token for many requests: renewed early, asked for once, with what the server demands, and never without end.

mod common;

use andon_auth::{AuthError, ClientCredentials, Flow, OAuth, ScopeRule};
use axum::http::StatusCode;
use common::{Mock, claims};
use futures_util::future::join_all;
use serde_json::json;

async fn call_50(mock: &Mock, oauth: &OAuth) -> Vec<Result<StatusCode, AuthError>> {
    join_all((0..50).map(|_| mock.call(oauth))).await
}

fn all_ok(outcomes: &[Result<StatusCode, AuthError>]) -> bool {
    outcomes.iter().all(|outcome| matches!(outcome, Ok(StatusCode::OK)))
}

#[tokio::test]
async fn cl7_50_refusals_lead_to_one_login() {
    let mock = Mock::start().await;
    assert!(all_ok(&call_50(&mock, &mock.oauth()).await));
    let act = mock.act();
    assert_eq!((act.authorizations.len(), act.token_requests.len()), (1, 1));
}

#[tokio::test]
async fn cl7_50_refusals_of_an_old_token_lead_to_one_refresh() {
    let mock = Mock::start().await;
    let oauth = mock.oauth();
    mock.call(&oauth).await.expect("logged in");
    mock.act().accepted.clear();
    assert!(all_ok(&call_50(&mock, &oauth).await));
    let act = mock.act();
    assert_eq!((act.authorizations.len(), act.token_requests.len()), (1, 2));
    let refreshed = &act.token_requests[1].1;
    assert_eq!((refreshed["grant_type"].as_str(), refreshed["refresh_token"].as_str()), ("refresh_token", "refresh-1"));
    assert_eq!(refreshed["resource"], mock.url());
}

#[tokio::test]
async fn cl7_a_token_is_renewed_before_it_ends() {
    let mock = Mock::start().await;
    let oauth = mock.oauth();
    mock.act().expires_in_s = Some(5);
    mock.call(&oauth).await.expect("logged in");
    mock.act().expires_in_s = Some(3600);
    let refusals = mock.act().count("POST /mcp");
    assert!(all_ok(&call_50(&mock, &oauth).await));
    assert_eq!(mock.act().count("POST /mcp"), refusals + 50, "none is refused");
    assert_eq!(mock.act().authorizations.len(), 1);
}

#[tokio::test]
async fn a_login_that_fails_fails_for_all_who_waited() {
    let mock = Mock::start().await;
    mock.act().redirect = Box::new(|answer| {
        answer.remove("code");
        answer.insert("error".into(), "access_denied".into());
    });
    let outcomes = call_50(&mock, &mock.oauth()).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(AuthError::Denied(_)))));
    assert!(mock.act().authorizations.len() < 50, "the person is not asked 50 times");
}

#[tokio::test]
async fn step_up_asks_for_the_union_or_for_what_is_demanded_alone() {
    for (rule, expected) in [(ScopeRule::Union, "mcp:write mcp:basic"), (ScopeRule::Replace, "mcp:write")] {
        let mock = Mock::start().await;
        mock.act().challenge.push_str(", scope=\"mcp:basic\"");
        mock.act().resource_metadata.as_mut().expect("metadata")["scopes_supported"] = json!(["mcp:profile"]);
        let oauth = mock.builder().scope_rule(rule).build().expect("a client");
        mock.call(&oauth).await.expect("logged in");
        mock.act().demanded_scope = Some("mcp:write".into());
        assert!(all_ok(&call_50(&mock, &oauth).await));
        let act = mock.act();
        let asked: Vec<&str> = act.authorizations.iter().map(|asked| asked["scope"].as_str()).collect();
        assert_eq!(asked, ["mcp:basic", expected]);
    }
}

#[tokio::test]
async fn cl9_a_scope_that_is_never_granted_ends_after_3_rounds() {
    let mock = Mock::start().await;
    let oauth = mock.oauth();
    mock.call(&oauth).await.expect("logged in");
    let before = mock.act().authorizations.len();
    // No single scope has a space, so that the demand is never met.
    mock.act().demanded_scope = Some("never granted".into());
    assert!(matches!(mock.call(&oauth).await, Err(AuthError::Insufficient(_))));
    assert!(mock.act().authorizations.len() - before <= 3);
}

#[tokio::test]
async fn scopes_come_from_the_challenge_else_from_the_resource() {
    let mock = Mock::start().await;
    mock.act().resource_metadata.as_mut().expect("metadata")["scopes_supported"] = json!(["a", "b"]);
    mock.act().server_metadata.as_mut().expect("metadata")["scopes_supported"] = json!(["offline_access"]);
    mock.call(&mock.oauth()).await.expect("logged in");
    assert_eq!(mock.act().authorizations[0]["scope"], "a b offline_access");
}

#[tokio::test]
async fn many_proofs_without_the_nonce_lead_to_no_further_login() {
    let mock = Mock::start().await;
    mock.act().binds();
    let oauth = mock.oauth();
    mock.call(&oauth).await.expect("logged in");
    mock.act().nonce = Some("fresh".into());
    assert!(all_ok(&call_50(&mock, &oauth).await));
    let act = mock.act();
    assert_eq!(act.token_requests.len(), 1);
    let proof = claims(act.token_requests[0].0["dpop"].to_str().expect("text"));
    assert_eq!((proof["htm"].as_str(), proof.get("nonce")), (Some("POST"), None));
    assert_eq!(proof["htu"], format!("{}/token", mock.origin));
}

#[tokio::test]
async fn workload_identity_makes_exactly_one_token_request() {
    let mock = Mock::start().await;
    mock.act().refusal = Some(json!({ "error": "invalid_grant" }));
    let oauth = mock
        .builder()
        .flow(Flow::WorkloadIdentity("the.platform.says".into()))
        .registered(Some(mock.origin.clone()), ClientCredentials::new("workload", None))
        .build()
        .expect("a client");
    assert!(matches!(mock.call(&oauth).await, Err(AuthError::Token { .. })));
    let act = mock.act();
    assert_eq!((act.token_requests.len(), act.registrations.len(), act.authorizations.len()), (1, 0, 0));
    assert_eq!(act.token_requests[0].1["assertion"], "the.platform.says");
}

#[tokio::test]
async fn client_credentials_authenticate_with_basic() {
    let mock = Mock::start().await;
    let credentials = ClientCredentials::new("me", Some("secret".into()));
    let oauth = mock.builder().flow(Flow::ClientCredentials).registered(None, credentials).build().expect("a client");
    assert_eq!(mock.call(&oauth).await.expect("a token"), StatusCode::OK);
    assert_eq!(mock.act().token_requests[0].0["authorization"], "Basic bWU6c2VjcmV0");
}

#[tokio::test]
async fn a_secret_goes_into_the_form_where_the_server_wants_it_there() {
    let mock = Mock::start().await;
    mock.act().server_metadata.as_mut().expect("metadata")["token_endpoint_auth_methods_supported"] =
        json!(["client_secret_post"]);
    let credentials = ClientCredentials::new("me", Some("secret".into()));
    let oauth = mock.builder().registered(None, credentials).build().expect("a client");
    assert_eq!(mock.call(&oauth).await.expect("a token"), StatusCode::OK);
    let act = mock.act();
    let (headers, fields) = &act.token_requests[0];
    assert_eq!((fields["client_id"].as_str(), fields["client_secret"].as_str()), ("me", "secret"));
    assert!(!headers.contains_key("authorization"));
}

#[tokio::test]
async fn logging_out_forgets_everything() {
    let mock = Mock::start().await;
    let oauth = mock.oauth();
    oauth.login().await.expect("logged in");
    let token = oauth.token().expect("a token");
    assert!(!format!("{token:?}").contains("access-"));
    oauth.logout().await.expect("logged out");
    assert!(oauth.token().is_none());
    oauth.login().await.expect("logged in");
    assert_eq!(mock.act().registrations.len(), 2);
}
