//! What HTTP and JSON cost: reads the call into a typed struct and writes the answer from one.
//!
//! No sessions, no checks, one tool. A server that does its duty cannot be faster than this.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::wire::Era;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
}

#[derive(Serialize)]
struct CallResponse<'a> {
    jsonrpc: &'static str,
    id: Option<&'a RawValue>,
    result: CallToolResult<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallToolResult<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
    content: [TextContent<'a>; 1],
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<&'static Meta>,
}

#[derive(Serialize)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/serverInfo")]
    server_info: ServerInfo,
}

#[derive(Serialize)]
struct ServerInfo {
    name: &'static str,
    version: &'static str,
    title: &'static str,
}

/// What a modern answer carries besides: the same as the demo server's.
static META: Meta =
    Meta { server_info: ServerInfo { name: "andon-demo", version: env!("CARGO_PKG_VERSION"), title: "Andon demo" } };

#[derive(Serialize)]
struct TextContent<'a> {
    r#type: &'static str,
    text: &'a str,
}

/// Answers one request.
pub async fn answer<B>(request: Request<B>) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (parts, body) = request.into_parts();
    let revision = parts.headers.get("mcp-protocol-version");
    let is_modern = revision.is_some_and(|value| value.as_bytes() == Era::Modern.revision().as_bytes());
    let Ok(body) = super::read(body).await else { return with(StatusCode::BAD_REQUEST, Bytes::new()) };
    let Ok(message) = serde_json::from_slice::<Message<'_>>(&body) else {
        return with(StatusCode::BAD_REQUEST, Bytes::new());
    };
    match (message.id, &*message.method, message.params.and_then(|params| params.arguments)) {
        (Some(id), "tools/call", Some(arguments)) => {
            let response = CallResponse {
                jsonrpc: "2.0",
                id: Some(id),
                result: CallToolResult {
                    result_type: is_modern.then_some("complete"),
                    content: [TextContent { r#type: "text", text: &arguments.message }],
                    meta: is_modern.then_some(&META),
                },
            };
            let mut bytes = Vec::with_capacity(256);
            serde_json::to_writer(&mut bytes, &response).expect("invariant: the answer is plain data");
            with(StatusCode::OK, bytes.into())
        }
        (Some(_), "initialize", _) => {
            let mut response = with(StatusCode::OK, Bytes::from_static(br#"{"jsonrpc":"2.0","id":0,"result":{}}"#));
            response
                .headers_mut()
                .insert("mcp-session-id", HeaderValue::from_static("0123456789abcdef0123456789abcdef"));
            response
        }
        (None, _, _) => with(StatusCode::ACCEPTED, Bytes::new()),
        _ => with(StatusCode::BAD_REQUEST, Bytes::new()),
    }
}

fn with(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
