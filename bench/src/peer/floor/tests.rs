use std::sync::Arc;

use andon::http::{HttpOptions, HttpService};
use andon::prelude::{Server, tool};

use super::Floor;
use crate::peer::read;
use crate::wire::{self, Era, http_request};

/// Say the message again.
#[tool]
async fn echo(
    /// What to say.
    message: String,
) -> String {
    message
}

#[tokio::test]
async fn it_answers_the_bytes_that_andon_answers() {
    let server = Server::new("andon-demo", env!("CARGO_PKG_VERSION")).title("Andon demo").with(echo);
    let andon = HttpService::new(server.build().unwrap(), HttpOptions::default());
    let opened = andon.handle(http_request(Era::Legacy, None, wire::INITIALIZE)).await;
    let session_id = opened.headers()["mcp-session-id"].to_str().unwrap();
    andon.handle(http_request(Era::Legacy, Some(session_id), wire::INITIALIZED)).await;
    let floor = Arc::new(Floor::default());
    for (era, session_id) in [(Era::Legacy, Some(session_id)), (Era::Modern, None)] {
        let body = wire::call_body(era);
        let expected = read(andon.handle(http_request(era, session_id, body)).await.into_body()).await.unwrap();
        let answered = read(floor.clone().answer(http_request(era, session_id, body)).await.into_body()).await.unwrap();
        assert_eq!(answered, expected, "{era:?}");
    }
}

#[tokio::test]
async fn its_steps_are_progress_and_an_answer() {
    let floor = Arc::new(Floor::default());
    for era in [Era::Legacy, Era::Modern] {
        let response = floor.clone().answer(http_request(era, None, &wire::steps_body(era))).await;
        let body = read(response.into_body()).await.unwrap();
        assert_eq!(wire::check_steps(&body, true, 100_000_000), Ok(()));
    }
}
