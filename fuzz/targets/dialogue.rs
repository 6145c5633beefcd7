//! Anything that a server may say, in any order: each call ends once, each question is withdrawn or answered, and
//! nothing is left.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use andon_core::client::{CallId, Dialogue, Input, Loss, Newcall, Output, QuestionId, Timing};
use andon_core::io::Timestamp;
use andon_types::capability::{ClientCapabilities, Settings};
use andon_types::error::ErrorObject;
use andon_types::message::Body;
use andon_types::meta::Implementation;
use andon_types::revision::Revision;
use andon_types::scan::ScanLimits;
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, json};

#[derive(Arbitrary, Debug)]
enum Step {
    Call { progress: bool },
    Abandon(u8),
    Message(String),
    Known { which: u8, id: u8 },
    Failed(u8),
    Reply { question: u8, good: bool },
    Wait(u32),
    Closed,
}

const KNOWN: [&str; 9] = [
    r#"{"jsonrpc":"2.0","id":ID,"result":{}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"error":{"code":-1,"message":"no"}}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":ID,"progress":ID}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"roots/list"}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":ID}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"roots/list"}},"requestState":"ID"}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"result":{"resultType":"input_required","requestState":"ID"}}"#,
    r#"{"jsonrpc":"2.0","id":ID,"method":"ping"}"#,
    r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":ID}}}"#,
];

fuzz_target!(|input: (bool, Vec<Step>)| {
    let (is_modern, steps) = input;
    let capabilities = ClientCapabilities { roots: Some(Settings::new()), ..ClientCapabilities::default() };
    let mut dialogue = Dialogue::new(Implementation::new("f", "1"), capabilities);
    dialogue.speak(if is_modern { Revision::LATEST } else { Revision::LATEST_LEGACY });
    let mut now = Timestamp(0);
    let mut open = BTreeSet::<CallId>::new();
    let mut questions = BTreeMap::<QuestionId, bool>::new();
    for step in steps.into_iter().chain([Step::Closed]) {
        let input = match step {
            Step::Call { progress } => {
                let timing = Timing { timeout: Duration::from_secs(10), max: Duration::from_secs(60) };
                let params = Map::from_iter([("name".to_owned(), json!("x"))]);
                let new = Newcall {
                    method: "tools/call".into(),
                    params: Arc::new(params.into()),
                    meta: None,
                    timing,
                    wants_progress: progress,
                    mirrored: vec![],
                    takes_tasks: false,
                    capabilities: None,
                };
                let (call, outputs) = dialogue.request(now, new);
                assert!(matches!(outputs[..], [Output::Send { .. }]) && open.insert(call));
                continue;
            }
            Step::Abandon(call) => {
                open.remove(&CallId(call.into()));
                Input::Abandon { call: CallId(call.into()) }
            }
            Step::Message(text) => match Body::parse(text.as_bytes(), ScanLimits::default()) {
                Ok(Body::Single(message)) => Input::Message(message),
                _ => continue,
            },
            Step::Known { which, id } => {
                let text = KNOWN[usize::from(which) % KNOWN.len()].replace("ID", &id.to_string());
                let Ok(Body::Single(message)) = Body::parse(text.as_bytes(), ScanLimits::default()) else { continue };
                Input::Message(message)
            }
            Step::Failed(call) => Input::Failed { call: CallId(call.into()), loss: Loss::SessionGone },
            Step::Reply { question, good } => {
                let outcome = if good { Ok(json!({ "roots": [] })) } else { Err(ErrorObject::internal()) };
                let question = QuestionId(question.into());
                questions.remove(&question);
                Input::Reply { question, outcome }
            }
            Step::Wait(ms) => {
                now = now.after(Duration::from_millis(ms.into()));
                Input::Tick
            }
            Step::Closed => Input::Closed { loss: Loss::SessionGone },
        };
        for output in dialogue.handle(now, input) {
            match output {
                Output::Answered { call, .. } => assert!(open.remove(&call), "one outcome per call"),
                Output::Asked { question, .. } => assert!(questions.insert(question, true).is_none()),
                Output::Withdrawn { question } => drop(questions.remove(&question)),
                Output::Send { text, .. } | Output::Say { text } => {
                    serde_json::from_str::<serde_json::Value>(&text).expect("what is sent is JSON");
                }
                _ => {}
            }
            assert!(questions.len() <= 16, "questions are bounded");
        }
    }
    assert!(open.is_empty() && questions.is_empty() && dialogue.is_idle() && dialogue.deadline().is_none());
});
