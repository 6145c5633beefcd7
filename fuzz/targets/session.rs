//! Any inputs in any order: the machine keeps its promises and never panics.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use andon_core::io::{AskId, CallId, Input, ListKind, Output, Reply, StreamId, Timestamp};
use andon_core::limits::Limits;
use andon_core::offer::Offer;
use andon_core::session::{Session, Shape, StreamKind};
use andon_types::client::InputRequest;
use andon_types::message::Body;
use andon_types::meta::Implementation;
use andon_types::scan::ScanLimits;
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    Open,
    Message { stream: u8, text: String },
    Known { stream: u8, which: u8, id: u8 },
    Done(u8),
    Ask(u8),
    Abandon(u8),
    Progress(u8, f64),
    Changed,
    Updated(String),
    Detach(u8),
    Resume(String),
    Wait(u32),
    End,
}

const KNOWN: [&str; 8] = [
    r#"{"jsonrpc":"2.0","id":ID,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"f","version":"1"}}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":ID}}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"ping"}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":ID}}"#,
    r#"{"jsonrpc":"2.0","id":"andon-ID","result":{"roots":[]}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"resources/subscribe","params":{"uri":"a:ID"}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"logging/setLevel","params":{"level":"debug"}}"#,
];

fuzz_target!(|steps: Vec<Step>| {
    let capabilities =
        serde_json::from_str(r#"{"tools":{},"resources":{"subscribe":true},"logging":{}}"#).expect("fine");
    let offer = Offer::new(&Implementation::new("f", "1"), None, &capabilities);
    let mut session = Session::new(Timestamp(0), Shape::Http, 1, Arc::new(Limits::default()), Arc::new(offer));
    let (mut now, mut asks) = (Timestamp(0), 0);
    let mut outcomes = BTreeMap::<AskId, u32>::new();
    for step in steps.iter().chain([&Step::End]) {
        let input = match step {
            Step::Open => {
                let stream = session.open_stream(now, StreamKind::Request);
                session.owe(stream, 1);
                continue;
            }
            Step::Resume(id) => {
                drop(session.resume(now, id));
                continue;
            }
            Step::Message { stream, text } => match Body::parse(text.as_bytes(), ScanLimits::default()) {
                Ok(Body::Single(message)) => Input::Message { stream: StreamId((*stream).into()), message },
                _ => continue,
            },
            Step::Known { stream, which, id } => {
                let text = KNOWN[usize::from(*which) % KNOWN.len()].replace("ID", &id.to_string());
                let Ok(Body::Single(message)) = Body::parse(text.as_bytes(), ScanLimits::default()) else { continue };
                Input::Message { stream: StreamId((*stream).into()), message }
            }
            Step::Done(call) => Input::Done { call: CallId((*call).into()), outcome: Ok(Reply::default()) },
            Step::Ask(call) => {
                asks += 1;
                let (call, ask) = (CallId((*call).into()), AskId(asks));
                Input::Ask { call, ask, key: "k".into(), request: InputRequest::roots(), timeout: None }
            }
            Step::Abandon(ask) => Input::Abandon { ask: AskId((*ask).into()) },
            Step::Progress(call, progress) => {
                Input::Progress { call: CallId((*call).into()), progress: *progress, total: None, message: None }
            }
            Step::Changed => Input::Changed(ListKind::Tools),
            Step::Updated(uri) => Input::Updated(uri.as_str().into()),
            Step::Detach(stream) => Input::Detached { stream: StreamId((*stream).into()) },
            Step::Wait(ms) => {
                now = now.after(Duration::from_millis((*ms).into()));
                Input::Tick
            }
            Step::End => Input::End,
        };
        for output in session.handle(now, input) {
            match output {
                Output::Send { frame, .. } => {
                    let text = frame.text.expect("only a priming event has no text");
                    serde_json::from_str::<serde_json::Value>(&text).expect("what is sent is JSON");
                }
                Output::Answered { ask, .. } => {
                    let count = outcomes.entry(ask).or_default();
                    *count += 1;
                    assert_eq!(*count, 1, "one outcome per question");
                }
                _ => {}
            }
        }
    }
    assert!(!session.is_busy() && session.deadline().is_none());
});
