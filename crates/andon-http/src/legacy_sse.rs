//! HTTP with SSE, the transport of 2024-11-05: `GET /sse` is a stream whose first event names where to POST, and what
//! is answered comes on the stream. Beside the endpoint, behind the same gate.

use andon_server::host::Inbound;
use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Method, Response};
use http_body::Body;

use crate::body::ResponseBody;
use crate::gate::Refusal;
use crate::head::RequestHead;
use crate::headers::check_body;
use crate::service::{HttpService, event_stream, plain};

/// Where streams are opened.
pub(crate) const STREAM_PATH: &str = "/sse";
/// Where messages go.
pub(crate) const MESSAGES_PATH: &str = "/messages";
/// What names the session there.
const SESSION: &str = "session_id";

impl HttpService {
    /// Answers a request to [`STREAM_PATH`].
    pub(crate) async fn open_stream(&self, head: &RequestHead<'_>) -> Result<Response<ResponseBody>, Refusal> {
        if head.method != Method::GET {
            return Ok(not_allowed("GET"));
        }
        if !head.headers.accepts().events {
            return Err((406, "the header Accept lists text/event-stream".to_owned()));
        }
        let principal = self.principal(&head.headers).await?;
        match self.host().open_event_stream(&principal) {
            Ok((id, stream)) => {
                let endpoint = format!("event: endpoint\ndata: {MESSAGES_PATH}?{SESSION}={id}\n\n");
                Ok(event_stream(ResponseBody::named_events(stream, endpoint, self.options().keep_alive_interval)))
            }
            Err(answer) => Ok(self.ready(answer)),
        }
    }

    /// Answers a request to [`MESSAGES_PATH`].
    pub(crate) async fn take_message<B>(
        &self,
        head: &RequestHead<'_>,
        body: B,
    ) -> Result<Response<ResponseBody>, Refusal>
    where
        B: Body<Data = Bytes>,
    {
        if head.method != Method::POST {
            return Ok(not_allowed("POST"));
        }
        check_body(&head.headers).map_err(|why| (415, why.to_owned()))?;
        let principal = self.principal(&head.headers).await?;
        let told = head.headers.head().map_err(|bad| (400, bad.0))?;
        let id = session_id(head.target.query.unwrap_or_default())
            .ok_or_else(|| (400, format!("the URI is the one that the event `endpoint` named, with one {SESSION}")))?;
        let (body, _share) = self.read(&head.headers, body).await?;
        Ok(self.ready(self.host().post_to_event_stream(id, Inbound { head: told, body, principal }).await))
    }
}

/// The session that a query names, once.
fn session_id(query: &str) -> Option<&str> {
    let mut named = query.split('&').filter_map(|pair| pair.strip_prefix(SESSION)?.strip_prefix('='));
    let id = named.next().filter(|id| !id.is_empty())?;
    named.next().is_none().then_some(id)
}

fn not_allowed(allowed: &'static str) -> Response<ResponseBody> {
    let mut response = plain(405, "");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

#[cfg(test)]
mod tests {
    use super::session_id;

    #[test]
    fn a_query_names_one_session() {
        assert_eq!(session_id("session_id=a"), Some("a"));
        assert_eq!(session_id("x=1&session_id=a&y"), Some("a"));
        for bad in ["", "session_id", "session_id=", "session_id=a&session_id=b", "sessionid=a", "xsession_id=a"] {
            assert_eq!(session_id(bad), None, "{bad}");
        }
    }
}
