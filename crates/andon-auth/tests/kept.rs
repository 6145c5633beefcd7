//! What outlives a program, and several programs that share it.

mod common;

use andon_auth::{FileStore, OAuth};
use axum::http::StatusCode;
use common::{Mock, claims};
use futures_util::future::join_all;
use tempfile::TempDir;

/// A client of its own, as another process has it.
fn another(mock: &Mock, folder: &TempDir) -> OAuth {
    mock.builder().store(FileStore::new(folder.path().join("tokens.json"))).build().expect("a client")
}

/// Registrations and logins.
fn counts(mock: &Mock) -> (usize, usize) {
    let act = mock.act();
    (act.registrations.len(), act.authorizations.len())
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_outlives_the_program() {
    let (mock, folder) = (Mock::start().await, folder());
    mock.act().binds();
    mock.call(&another(&mock, &folder)).await.expect("logged in");
    assert_eq!(mock.call(&another(&mock, &folder)).await.expect("known"), StatusCode::OK);
    // The key is good for what the refresh token brings as well.
    mock.act().accepted.clear();
    assert_eq!(mock.call(&another(&mock, &folder)).await.expect("renewed"), StatusCode::OK);
    assert_eq!(mock.call(&another(&mock, &folder)).await.expect("known"), StatusCode::OK);
    let act = mock.act();
    assert_eq!((act.authorizations.len(), act.token_requests.len()), (1, 2));
}

#[tokio::test]
async fn a_key_that_cannot_be_read_leads_to_a_new_login() {
    let (mock, folder) = (Mock::start().await, folder());
    mock.act().binds();
    mock.call(&another(&mock, &folder)).await.expect("logged in");
    let path = folder.path().join("tokens.json");
    let mut kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    kept[mock.url()][&mock.origin]["dpop_key"] = "nonsense".into();
    std::fs::write(&path, kept.to_string()).expect("written");
    assert_eq!(mock.call(&another(&mock, &folder)).await.expect("logged in again"), StatusCode::OK);
    assert_eq!(mock.act().authorizations.len(), 2);
}

/// A refresh token that is used twice is a theft to the authorization server.
#[tokio::test(flavor = "multi_thread")]
async fn cl7_of_many_programs_one_uses_the_refresh_token() {
    for is_told in [true, false] {
        let (mock, folder) = (Mock::start().await, folder());
        mock.act().expires_in_s = is_told.then_some(5);
        mock.call(&another(&mock, &folder)).await.expect("logged in");
        let others: Vec<OAuth> = (0..8).map(|_| another(&mock, &folder)).collect();
        for other in &others {
            // They know the first token before it is of no use any more.
            other.headers(&axum::http::Method::POST, &mock.url()).await.map_err(drop).unwrap_or_default();
        }
        mock.act().expires_in_s = Some(3600);
        mock.act().accepted.retain(|token| token != "access-1");
        let outcomes = join_all(others.iter().map(|other| mock.call(other))).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(StatusCode::OK))), "{outcomes:?}");
        assert_eq!(mock.act().authorizations.len(), 1, "nobody has to log in again");
    }
}

#[tokio::test]
async fn nonces_in_good_answers_are_taken() {
    let mock = Mock::start().await;
    mock.act().binds();
    mock.act().next_nonce = Some("second".into());
    mock.act().token_nonce = Some("for tokens".into());
    let oauth = mock.oauth();
    mock.call(&oauth).await.expect("logged in");
    mock.act().nonce = Some("second".into());
    let before = mock.act().count("POST /mcp");
    mock.call(&oauth).await.expect("with the nonce");
    assert_eq!(mock.act().count("POST /mcp"), before + 1, "none is refused");
    mock.act().accepted.clear();
    mock.call(&oauth).await.expect("renewed");
    let act = mock.act();
    let proof = claims(act.token_requests[1].0["dpop"].to_str().expect("text"));
    assert_eq!(proof["nonce"], "for tokens", "and not the one of the resource");
}

#[tokio::test]
async fn a_registration_that_was_forgotten_is_made_anew_once() {
    // Found out by refreshing.
    let (mock, folder) = (Mock::start().await, folder());
    mock.call(&another(&mock, &folder)).await.expect("logged in");
    mock.act().accepted.clear();
    mock.act().forgotten = vec!["client-1".into()];
    assert_eq!(mock.call(&another(&mock, &folder)).await.expect("logged in again"), StatusCode::OK);
    assert_eq!(counts(&mock), (2, 2));
    // By logging in.
    mock.act().forgotten.push("client-2".into());
    another(&mock, &folder).login().await.expect("logged in again");
    assert_eq!(counts(&mock), (3, 4));
    // Whoever knows nobody ends it.
    mock.act().forgotten = (1..10).map(|number| format!("client-{number}")).collect();
    another(&mock, &folder).login().await.expect_err("refused");
    assert_eq!(counts(&mock), (4, 6));
}
