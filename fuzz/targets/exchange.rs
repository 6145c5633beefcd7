//! Any request and any inputs in any order: one answer at most, nothing after it, and never a panic.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use andon_core::descriptions::Descriptions;
use andon_core::endpoint::admit;
use andon_core::exchange::{CALL, Exchange, STREAM};
use andon_core::io::{AskId, Input, ListKind, Output, Reply, Timestamp};
use andon_core::limits::Limits;
use andon_core::offer::Offer;
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::{Body, Message};
use andon_types::meta::{Implementation, Level};
use andon_types::scan::ScanLimits;
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    Done,
    Listen { tools: bool, uri: String },
    Fail,
    Ask(u8),
    Abandon(u8),
    Park,
    Sealed(Option<String>),
    Progress(f64),
    Log(String),
    Extend(u32),
    Changed(u8),
    Updated(String),
    Detach,
    Wait(u32),
    End,
}

const METHODS: [&str; 5] = ["tools/call", "subscriptions/listen", "server/discover", "resources/read", "nonsense"];

fuzz_target!(|input: (u8, String, Vec<Step>)| {
    let (which, meta, steps) = input;
    let capabilities =
        serde_json::from_str(r#"{"tools":{},"resources":{"subscribe":true},"logging":{}}"#).expect("fine");
    let offer = Arc::new(Offer::new(&Implementation::new("f", "1"), None, &capabilities));
    let method = METHODS[usize::from(which) % METHODS.len()];
    let known = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/logLevel":"debug","progressToken":7"#;
    let meta = if which & 0x80 == 0 { format!("{{{known}}}") } else { meta };
    let text =
        format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{{"name":"x","uri":"a:1","_meta":{meta}}}}}"#);
    let Ok(Body::Single(Message::Request(request))) = Body::parse(text.as_bytes(), ScanLimits::default()) else {
        return;
    };
    let Ok(admitted) = admit(request, None, &offer, &Descriptions::default()) else { return };
    let mut now = Timestamp(0);
    let (mut exchange, outputs) = Exchange::open(now, admitted, Arc::new(Limits::default()), offer);
    let mut outcomes = BTreeMap::<AskId, u32>::new();
    let mut answers = 0;
    let mut asks = 0;
    let mut check = |outputs: Vec<Output>, answers: &mut u32| {
        for output in outputs {
            match output {
                Output::Send { stream, frame } => {
                    assert_eq!((stream, *answers), (STREAM, 0), "nothing follows the answer");
                    let text = frame.text.expect("modern frames have text");
                    let value: serde_json::Value = serde_json::from_str(&text).expect("what is sent is JSON");
                    let is_answer = value.get("id").is_some();
                    assert_eq!(is_answer, frame.last);
                    *answers += u32::from(is_answer);
                }
                Output::Answered { ask, .. } => {
                    let count = outcomes.entry(ask).or_default();
                    *count += 1;
                    assert_eq!(*count, 1, "one outcome per question");
                }
                _ => {}
            }
        }
    };
    check(outputs, &mut answers);
    for step in steps.into_iter().chain([Step::End]) {
        let input = match step {
            Step::Done => Input::Done { call: CALL, outcome: Ok(Reply::default()) },
            Step::Listen { tools, uri } => {
                let filter = serde_json::json!({ "toolsListChanged": tools, "resourceSubscriptions": [uri] });
                Input::Done { call: CALL, outcome: Ok(Reply { body: filter.to_string().into(), ..Reply::default() }) }
            }
            Step::Fail => Input::Done { call: CALL, outcome: Err(ErrorObject::internal()) },
            Step::Ask(key) => {
                asks += 1;
                let request = InputRequest::roots();
                Input::Ask { call: CALL, ask: AskId(asks), key: key.to_string().into(), request, timeout: None }
            }
            Step::Abandon(ask) => Input::Abandon { ask: AskId(ask.into()) },
            Step::Park => Input::Park,
            Step::Sealed(request_state) => Input::Sealed { request_state },
            Step::Progress(progress) => Input::Progress { call: CALL, progress, total: None, message: None },
            Step::Log(data) => {
                let data = andon_types::message::Json::of(&data).expect("text is JSON");
                Input::Log { call: CALL, level: Level::Info, logger: None, data }
            }
            Step::Extend(ms) => Input::Extend { call: CALL, timeout: Duration::from_millis(ms.into()) },
            Step::Changed(kind) => Input::Changed(ListKind::ALL[usize::from(kind) % 3]),
            Step::Updated(uri) => Input::Updated(uri.as_str().into()),
            Step::Detach => Input::Detached { stream: STREAM },
            Step::Wait(ms) => {
                now = now.after(Duration::from_millis(ms.into()));
                Input::Tick
            }
            Step::End => Input::End,
        };
        check(exchange.handle(now, input), &mut answers);
        assert!(answers <= 1);
    }
    assert!(exchange.is_over() && exchange.deadline().is_none());
});
