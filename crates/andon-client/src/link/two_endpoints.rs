//! HTTP with two endpoints, as 2024-11-05 has it: an event stream that never ends, and a place to POST to that it names.

use std::sync::{Mutex, PoisonError};

use andon_core::client::Loss;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::http::HttpOptions;
use super::http::send::{Address, Answer, Headers, send};
use super::{Ear, Heard, Link, Round, read_messages};
use crate::carriage::Carriage;
use andon_types::sse::EventParser;

/// A connection over the two endpoints.
pub(crate) struct TwoEndpoints {
    options: HttpOptions,
    endpoint: url::Url,
    ear: Ear,
    stream: AbortHandle,
}

impl TwoEndpoints {
    /// Opens the stream and waits for the `endpoint` event.
    ///
    /// # Errors
    /// When there is no such stream, or its endpoint is of another origin.
    pub(crate) async fn open(options: HttpOptions, ear: Ear) -> Result<Self, Loss> {
        let url = options.url.clone();
        let response = request(&options, Method::GET, url, None).await?;
        let media = response.header(CONTENT_TYPE.as_str());
        let is_events = media.is_some_and(|media| media.starts_with(b"text/event-stream"));
        if !response.status().is_success() || !is_events {
            let why = "there is no event stream of the transport of 2024-11-05 either".to_owned();
            return Err(Loss::Refused { status: Some(response.status().as_u16()), why });
        }
        let (found, endpoint) = oneshot::channel();
        let bytes_max = options.message_bytes_max;
        let stream = tokio::spawn(listen(response, bytes_max, found, ear.clone())).abort_handle();
        let lost = |why: &str| Loss::Refused { status: None, why: why.to_owned() };
        let endpoint = endpoint.await.map_err(|_| lost("the event stream ended before it named its endpoint"))?;
        let endpoint =
            options.url.join(&endpoint).map_err(|_| lost("the event stream names an endpoint that is no URL"))?;
        if endpoint.origin() != options.url.origin() {
            stream.abort();
            return Err(lost("the event stream names an endpoint at another origin, which is not to be trusted"));
        }
        Ok(Self { options, endpoint, ear, stream })
    }

    fn post(&self, text: String) -> impl Future<Output = Result<(), Loss>> + Send + use<> {
        let (options, endpoint) = (self.options.clone(), self.endpoint.clone());
        async move {
            let response = request(&options, Method::POST, endpoint, Some(text)).await?;
            match response.status() {
                status if status.is_success() => Ok(()),
                http::StatusCode::NOT_FOUND => Err(Loss::SessionGone),
                status => {
                    let why = "it does not take the message".to_owned();
                    Err(Loss::Refused { status: Some(status.as_u16()), why })
                }
            }
        }
    }
}

impl Drop for TwoEndpoints {
    fn drop(&mut self) {
        self.stream.abort();
    }
}

impl Link for TwoEndpoints {
    fn send(&self, round: Round) -> Option<Carriage> {
        let (call, ear, post) = (round.call, self.ear.clone(), self.post(round.text));
        let carriage = async move {
            if let Err(loss) = post.await {
                ear(Heard::Failed { call, loss });
            }
        };
        Some(carriage.boxed())
    }

    fn say(&self, text: String) -> BoxFuture<'static, ()> {
        let posting = self.post(text);
        async move {
            if let Err(loss) = posting.await {
                tracing::debug!(%loss, "a message was not delivered");
            }
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        // The session of this transport is its stream.
        self.stream.abort();
        async {}.boxed()
    }
}

async fn request(options: &HttpOptions, method: Method, url: url::Url, text: Option<String>) -> Result<Answer, Loss> {
    let repeats = text.is_none();
    let headers = || {
        let mut headers = options.headers.clone();
        match repeats {
            false => headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json")),
            true => headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream")),
        };
        Ok(Headers::new(headers))
    };
    send(options, &method, &Address::of(url), headers, text.map(Bytes::from).as_ref(), repeats).await
}

async fn listen(mut response: Answer, bytes_max: usize, found: oneshot::Sender<String>, ear: Ear) {
    let found = Mutex::new(Some(found));
    let mut parser = EventParser::new(bytes_max);
    let why = loop {
        let piece = match response.chunk().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break "the server ended the stream".to_owned(),
            Err(error) => break error.to_string(),
        };
        let read = parser.push(&piece, |event| match event.kind.as_str() {
            "endpoint" => {
                if let Some(found) = found.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    // Nobody waits any more if opening took too long.
                    drop(found.send(event.data));
                }
            }
            "message" => read_messages(event.data.as_bytes(), &ear),
            _ => {}
        });
        if let Err(error) = read {
            break error.to_string();
        }
    };
    ear(Heard::Closed(Loss::Disconnected(why)));
}
