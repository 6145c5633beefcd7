use std::sync::Arc;
use std::time::Duration;

use andon_types::capability::{ClientCapabilities, Settings};
use andon_types::error::{ErrorCode, ErrorObject};
use andon_types::message::Body;
use andon_types::meta::Implementation;
use andon_types::raw_object::RawObject;
use andon_types::revision::Revision;
use andon_types::scan::ScanLimits;
use serde_json::{Map, Value, json};

use super::Dialogue;
use crate::client::{CallError, CallId, Input, Loss, Newcall, Output, Timing};
use crate::io::Timestamp;

const T0: Timestamp = Timestamp(1_000);
const TIMING: Timing = Timing { timeout: Duration::from_secs(10), max: Duration::from_secs(60) };

fn dialogue(revision: Revision) -> Dialogue {
    let capabilities = ClientCapabilities { elicitation: Some(Settings::new()), ..ClientCapabilities::default() };
    let mut dialogue = Dialogue::new(Implementation::new("c", "1"), capabilities);
    dialogue.speak(revision);
    dialogue
}

fn newcall(method: &str, params: impl Into<RawObject>) -> Newcall {
    Newcall {
        method: method.into(),
        params: Arc::new(params.into()),
        meta: None,
        timing: TIMING,
        wants_progress: false,
        mirrored: Vec::new(),
        takes_tasks: false,
        capabilities: None,
    }
}

fn begin(dialogue: &mut Dialogue, method: &str, wants_progress: bool) -> (CallId, i64, Value) {
    let params = Map::from_iter([("name".to_owned(), json!("t"))]);
    let new = Newcall { wants_progress, ..newcall(method, params) };
    let (call, out) = dialogue.request(T0, new);
    let (wire_id, sent) = sent(&out);
    (call, wire_id, sent)
}

/// The round among the outputs.
fn sent(out: &[Output]) -> (i64, Value) {
    let round = out.iter().find_map(|output| match output {
        Output::Send { wire_id, text, .. } => Some((*wire_id, serde_json::from_str(text).expect("JSON"))),
        _ => None,
    });
    round.expect("a round is sent")
}

fn said(out: &[Output]) -> Vec<Value> {
    let text = |output: &Output| match output {
        Output::Say { text } => Some(serde_json::from_str(text).expect("JSON")),
        _ => None,
    };
    out.iter().filter_map(text).collect()
}

fn hear(dialogue: &mut Dialogue, now: Timestamp, message: Value) -> Vec<Output> {
    let body = Body::parse(message.to_string().as_bytes(), ScanLimits::default()).expect("a message");
    let Body::Single(message) = body else { panic!("one message") };
    dialogue.handle(now, Input::Message(message))
}

fn answered(out: &[Output]) -> Vec<(CallId, Result<Value, CallError>)> {
    let outcome = |output: &Output| match output {
        Output::Answered { call, outcome } => {
            Some((*call, outcome.clone().map(|result| result.parse_owned().expect("JSON"))))
        }
        _ => None,
    };
    out.iter().filter_map(outcome).collect()
}

fn after(seconds: u64) -> Timestamp {
    T0.after(Duration::from_secs(seconds))
}

#[test]
fn answers_reach_their_calls_once_in_any_order() {
    let mut dialogue = dialogue(Revision::LATEST_LEGACY);
    let (first, first_id, _) = begin(&mut dialogue, "tools/call", false);
    let (second, second_id, _) = begin(&mut dialogue, "tools/call", false);
    let out = hear(&mut dialogue, T0, json!({ "jsonrpc": "2.0", "id": second_id, "result": { "n": 2 } }));
    assert_eq!(answered(&out), [(second, Ok(json!({ "n": 2 })))]);
    let again = hear(&mut dialogue, T0, json!({ "jsonrpc": "2.0", "id": second_id, "result": {} }));
    assert!(matches!(again[..], [Output::Dropped(_)]), "{again:?}");
    for stranger in [json!("1"), json!(99), json!(first_id.to_string())] {
        let out = hear(&mut dialogue, T0, json!({ "jsonrpc": "2.0", "id": stranger, "result": {} }));
        assert!(matches!(out[..], [Output::Dropped(_)]), "{out:?}");
    }
    let error = json!({ "code": -32602, "message": "no" });
    let out = hear(&mut dialogue, T0, json!({ "jsonrpc": "2.0", "id": first_id, "error": error }));
    assert!(matches!(&answered(&out)[..], [(call, Err(CallError::Protocol { .. }))] if *call == first));
    assert!(dialogue.is_idle() && dialogue.deadline().is_none());
}

#[test]
fn tmo1_a_call_that_is_late_is_cancelled_and_answered() {
    let mut dialogue = dialogue(Revision::LATEST_LEGACY);
    let (call, wire_id, _) = begin(&mut dialogue, "tools/call", false);
    assert_eq!(dialogue.deadline(), Some(after(10)));
    assert!(dialogue.handle(after(9), Input::Tick).is_empty());
    let out = dialogue.handle(after(10), Input::Tick);
    let Output::Cancel { text: Some(text), .. } = &out[0] else { panic!("{out:?}") };
    assert!(text.contains("notifications/cancelled") && text.contains(&format!("\"requestId\":{wire_id}")), "{text}");
    assert_eq!(answered(&out), [(call, Err(CallError::TimedOut))]);
    let late = hear(&mut dialogue, after(11), json!({ "jsonrpc": "2.0", "id": wire_id, "result": {} }));
    assert!(matches!(late[..], [Output::Dropped(_)]));
    assert_eq!(dialogue.deadline(), None);
}

#[test]
fn tmo2_progress_extends_a_call_up_to_its_maximum() {
    let mut dialogue = dialogue(Revision::LATEST_LEGACY);
    let (call, _, sent) = begin(&mut dialogue, "tools/call", true);
    let token = sent["params"]["_meta"]["progressToken"].clone();
    let report = |token: &Value, progress: f64| {
        let params = json!({ "progressToken": token, "progress": progress, "total": 9, "message": "m" });
        json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params })
    };
    for (step, at) in [(1.0, 8), (2.0, 16), (3.0, 24), (4.0, 32), (5.0, 40), (6.0, 48), (7.0, 56)] {
        let out = hear(&mut dialogue, after(at), report(&token, step));
        assert!(
            matches!(&out[..], [Output::Progress { report, .. }] if report.progress.to_bits() == f64::to_bits(step))
        );
    }
    assert!(dialogue.handle(after(57), Input::Tick).is_empty());
    assert_eq!(dialogue.deadline(), Some(after(60)), "the hard maximum");
    for (token, progress) in [(&token, 7.0), (&token, 6.5), (&json!("x"), 8.0), (&json!(77), 8.0)] {
        assert!(matches!(hear(&mut dialogue, after(57), report(token, progress))[..], [Output::Dropped(_)]));
    }
    assert_eq!(answered(&dialogue.handle(after(60), Input::Tick)), [(call, Err(CallError::TimedOut))]);
}

#[test]
fn a_call_is_not_late_while_a_person_is_asked() {
    let mut dialogue = dialogue(Revision::LATEST_LEGACY);
    let (call, _, _) = begin(&mut dialogue, "tools/call", false);
    let params = json!({ "message": "?", "requestedSchema": { "type": "object" } });
    let ask = json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": params });
    let out = hear(&mut dialogue, after(1), ask.clone());
    let Output::Asked { question, .. } = out[0] else { panic!("{out:?}") };
    assert!(matches!(hear(&mut dialogue, after(1), ask)[..], [Output::Dropped(_)]), "the id is in use");
    assert!(dialogue.handle(after(30), Input::Tick).is_empty());
    let out = dialogue.handle(after(30), Input::Reply { question, outcome: Ok(json!({ "action": "decline" })) });
    assert_eq!(said(&out), [json!({ "jsonrpc": "2.0", "id": "q", "result": { "action": "decline" } })]);
    assert_eq!(dialogue.deadline(), Some(after(40)), "it has its time again");
    assert_eq!(answered(&dialogue.handle(after(40), Input::Tick)), [(call, Err(CallError::TimedOut))]);
}

/// A question on the stream of the round `wire_id`.
fn asks_about(dialogue: &mut Dialogue, now: Timestamp, wire_id: i64, id: u32) -> Vec<Output> {
    let params = json!({ "message": "?", "requestedSchema": { "type": "object" } });
    let ask = json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params });
    let Ok(Body::Single(message)) = Body::parse(ask.to_string().as_bytes(), ScanLimits::default()) else {
        panic!("one message")
    };
    dialogue.handle(now, Input::Related { wire_id, message })
}

#[test]
fn a_question_holds_up_its_own_call_and_no_other() {
    // Over HTTP it comes on the stream of its call; a modern one is the answer of its call.
    for revision in [Revision::LATEST_LEGACY, Revision::LATEST] {
        let mut dialogue = dialogue(revision);
        let (asking, wire_id, _) = begin(&mut dialogue, "tools/call", false);
        let (other, ..) = begin(&mut dialogue, "tools/call", false);
        let out = match revision {
            Revision::LATEST => {
                hear(&mut dialogue, after(1), json!({ "jsonrpc": "2.0", "id": wire_id, "result": needs("a", None) }))
            }
            _ => asks_about(&mut dialogue, after(1), wire_id, 1),
        };
        assert!(matches!(out[..], [Output::Asked { call: Some(call), .. }] if call == asking), "{out:?}");
        assert_eq!(answered(&dialogue.handle(after(10), Input::Tick)), [(other, Err(CallError::TimedOut))]);
        assert_eq!(dialogue.deadline(), Some(after(60)), "the other has its maximum: {revision}");
        assert_eq!(answered(&dialogue.handle(after(60), Input::Tick)), [(asking, Err(CallError::TimedOut))]);
    }
}

#[test]
fn a_question_of_nobody_knows_which_call_holds_up_none_that_comes_later() {
    let mut dialogue = dialogue(Revision::LATEST_LEGACY);
    let (before, ..) = begin(&mut dialogue, "tools/call", false);
    let params = json!({ "message": "?", "requestedSchema": { "type": "object" } });
    let ask = json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": params });
    hear(&mut dialogue, T0, ask);
    let (later, ..) = begin(&mut dialogue, "tools/call", false);
    assert_eq!(answered(&dialogue.handle(after(10), Input::Tick)), [(later, Err(CallError::TimedOut))]);
    assert_eq!(answered(&dialogue.handle(after(60), Input::Tick)), [(before, Err(CallError::TimedOut))]);
}

#[test]
fn questions_are_bounded_for_each_call_and_in_all() {
    let mut dialogue = dialogue(Revision::LATEST_LEGACY).questions_max(40);
    let calls = [0; 4].map(|_| begin(&mut dialogue, "tools/call", false).1);
    let mut asked = [0; 4];
    for id in 0..100 {
        let index = id as usize / 25;
        let out = asks_about(&mut dialogue, T0, calls[index], id);
        asked[index] += out.iter().filter(|output| matches!(output, Output::Asked { .. })).count();
    }
    assert_eq!(asked, [16, 16, 8, 0]);
}

#[test]
fn what_was_not_declared_is_refused_and_ping_is_answered() {
    let mut dialogue = dialogue(Revision::LATEST_LEGACY);
    let code = |out: &[Output]| said(out)[0]["error"]["code"].as_i64();
    let ask = |method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    assert_eq!(said(&hear(&mut dialogue, T0, ask("ping", json!({}))))[0]["result"], json!({}));
    let sampling = json!({ "messages": [], "maxTokens": 1 });
    for (method, params) in [("sampling/createMessage", sampling), ("roots/list", json!({})), ("tools/list", json!({}))]
    {
        let out = hear(&mut dialogue, T0, ask(method, params));
        assert_eq!(code(&out), Some(i64::from(ErrorCode::MethodNotFound as i32)), "{method}");
    }
    let url = json!({ "mode": "url", "message": "m", "url": "https://x", "elicitationId": "e" });
    assert!(code(&hear(&mut dialogue, T0, ask("elicitation/create", url))).is_some(), "only forms were declared");
    assert!(dialogue.is_idle());
}

#[test]
fn a_question_that_is_cancelled_gets_no_answer_and_a_storm_is_bounded() {
    let mut dialogue = dialogue(Revision::LATEST_LEGACY);
    let params = json!({ "message": "?", "requestedSchema": { "type": "object" } });
    let ask = |id: u32| json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params });
    let mut asked = Vec::new();
    for id in 0..100 {
        for output in hear(&mut dialogue, T0, ask(id)) {
            if let Output::Asked { question, .. } = output {
                asked.push(question);
            }
        }
    }
    assert_eq!(asked.len(), 16, "the rest was refused");
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 0 } });
    assert!(matches!(hear(&mut dialogue, T0, cancel)[..], [Output::Withdrawn { question }] if question == asked[0]));
    let late = dialogue.handle(T0, Input::Reply { question: asked[0], outcome: Ok(json!({})) });
    assert!(late.is_empty(), "{late:?}");
    // Those that nobody answers are refused in the end.
    let out = dialogue.handle(after(600), Input::Tick);
    assert_eq!(said(&out).len(), 15);
    assert!(dialogue.is_idle());
}

fn needs(key: &str, state: Option<&str>) -> Value {
    let params = json!({ "message": "?", "requestedSchema": { "type": "object" } });
    let mut result = json!({ "resultType": "input_required" });
    if !key.is_empty() {
        result["inputRequests"] = json!({ key: { "method": "elicitation/create", "params": params } });
    }
    if let Some(state) = state {
        result["requestState"] = state.into();
    }
    result
}

#[test]
fn mr6_rounds_echo_the_state_with_a_new_id_and_the_first_parameters() {
    let mut dialogue = dialogue(Revision::LATEST);
    let (call, first_id, first) = begin(&mut dialogue, "tools/call", false);
    assert_eq!(first["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    let out =
        hear(&mut dialogue, T0, json!({ "jsonrpc": "2.0", "id": first_id, "result": needs("a", Some("s\u{e9}\"")) }));
    let Output::Asked { question, .. } = out[0] else { panic!("{out:?}") };
    let answer = json!({ "action": "accept", "content": {} });
    let out = dialogue.handle(T0, Input::Reply { question, outcome: Ok(answer.clone()) });
    let (second_id, second) = sent(&out);
    assert_ne!(second_id, first_id);
    assert_eq!(second["params"]["requestState"], "s\u{e9}\"");
    assert_eq!(second["params"]["inputResponses"], json!({ "a": answer }));
    assert_eq!(second["params"]["name"], first["params"]["name"]);
    // What the last round knew is not carried into the next.
    let out = hear(&mut dialogue, T0, json!({ "jsonrpc": "2.0", "id": second_id, "result": needs("b", None) }));
    let Output::Asked { question, .. } = out[0] else { panic!("{out:?}") };
    let out = dialogue.handle(T0, Input::Reply { question, outcome: Ok(json!({ "action": "cancel" })) });
    let (third_id, third) = sent(&out);
    assert_eq!(third["params"].get("requestState"), None);
    assert_eq!(third["params"]["inputResponses"], json!({ "b": { "action": "cancel" } }));
    let out = hear(&mut dialogue, T0, json!({ "jsonrpc": "2.0", "id": third_id, "result": { "content": [] } }));
    assert_eq!(answered(&out), [(call, Ok(json!({ "content": [] })))], "no resultType is complete");
}

#[test]
fn mr6_what_a_program_gives_of_a_round_is_for_the_first_that_it_sends() {
    let mut dialogue = dialogue(Revision::LATEST);
    let given = json!({ "a": { "action": "accept", "content": {} } });
    let mut params = RawObject::default();
    params.put("inputResponses", given.clone());
    params.put("requestState", json!("one"));
    let (_, out) = dialogue.request(T0, newcall("tools/call", params));
    let (wire_id, first) = sent(&out);
    assert_eq!((&first["params"]["inputResponses"], &first["params"]["requestState"]), (&given, &json!("one")));
    hear(&mut dialogue, T0, json!({ "jsonrpc": "2.0", "id": wire_id, "result": needs("", Some("two")) }));
    let due = dialogue.deadline().expect("it waits a little");
    let (_, second) = sent(&dialogue.handle(due, Input::Tick));
    assert_eq!(second["params"]["requestState"], "two");
    assert_eq!(second["params"].get("inputResponses"), None, "an answer is given once");
}

#[test]
fn mr6_a_server_that_asks_without_end_is_left_and_one_that_only_waits_is_not_hurried() {
    let mut dialogue = dialogue(Revision::LATEST);
    let (call, mut wire_id, _) = begin(&mut dialogue, "tools/call", false);
    let mut now = T0;
    for _ in 0..100 {
        let out = hear(&mut dialogue, now, json!({ "jsonrpc": "2.0", "id": wire_id, "result": needs("", Some("s")) }));
        if let [(ended, outcome)] = &answered(&out)[..] {
            assert_eq!((*ended, outcome.clone()), (call, Err(CallError::TooManyRounds)));
            assert!(now > T0, "it waited between rounds");
            return;
        }
        assert!(out.is_empty(), "the next round is not sent at once");
        now = dialogue.deadline().expect("it goes on by itself");
        (wire_id, _) = sent(&dialogue.handle(now, Input::Tick));
    }
    panic!("it goes on for ever");
}

#[test]
fn rounds_that_cannot_be_answered_end_the_call() {
    let sampling = json!({ "method": "sampling/createMessage", "params": { "messages": [], "maxTokens": 1 } });
    for result in [
        json!({ "resultType": "input_required" }),
        json!({ "resultType": "input_required", "inputRequests": { "a": { "method": "tools/call" } } }),
        json!({ "resultType": "input_required", "inputRequests": { "a": sampling } }),
        json!({ "resultType": "input_required", "inputRequests": [] }),
        json!({ "resultType": "later" }),
        json!({ "resultType": 7 }),
    ] {
        let mut dialogue = dialogue(Revision::LATEST);
        let (call, wire_id, _) = begin(&mut dialogue, "tools/call", false);
        let out = hear(&mut dialogue, T0, json!({ "jsonrpc": "2.0", "id": wire_id, "result": result }));
        assert!(matches!(&answered(&out)[..], [(ended, Err(_))] if *ended == call), "{result}: {out:?}");
        assert!(dialogue.is_idle());
    }
}

#[test]
fn a_handler_that_fails_and_a_call_that_is_dropped_leave_nothing_open() {
    let mut dialogue = dialogue(Revision::LATEST);
    let (call, wire_id, _) = begin(&mut dialogue, "tools/call", false);
    let out = hear(&mut dialogue, T0, json!({ "jsonrpc": "2.0", "id": wire_id, "result": needs("a", None) }));
    let Output::Asked { question, .. } = out[0] else { panic!("{out:?}") };
    let outcome = Err(ErrorObject::invalid_request("the person left"));
    let out = dialogue.handle(T0, Input::Reply { question, outcome });
    assert!(matches!(&answered(&out)[..], [(ended, Err(CallError::Unanswerable(_)))] if *ended == call));
    let (call, wire_id, _) = begin(&mut dialogue, "tools/call", false);
    hear(&mut dialogue, T0, json!({ "jsonrpc": "2.0", "id": wire_id, "result": needs("a", None) }));
    let out = dialogue.handle(T0, Input::Abandon { call });
    assert!(matches!(out[..], [Output::Withdrawn { .. }]), "nothing is out that could be cancelled: {out:?}");
    let (call, ..) = begin(&mut dialogue, "tools/call", false);
    assert!(matches!(dialogue.handle(T0, Input::Abandon { call })[..], [Output::Cancel { text: Some(_), .. }]));
    assert!(dialogue.is_idle());
}

#[test]
fn requests_of_a_modern_server_are_dropped() {
    let mut dialogue = dialogue(Revision::LATEST);
    let out = hear(&mut dialogue, T0, json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }));
    assert!(matches!(out[..], [Output::Dropped(_)]));
}

#[test]
fn what_goes_with_the_connection_is_told_to_every_call() {
    let mut dialogue = dialogue(Revision::LATEST_LEGACY);
    let calls: Vec<CallId> = (0..3).map(|_| begin(&mut dialogue, "tools/call", false).0).collect();
    let loss = Loss::Disconnected("gone".into());
    let out = dialogue.handle(T0, Input::Closed { loss: loss.clone() });
    let lost: Vec<_> = calls.into_iter().map(|call| (call, Err(CallError::Lost(loss.clone())))).collect();
    assert_eq!(answered(&out), lost);
    assert!(dialogue.is_idle());
}

#[test]
fn initialize_carries_no_metadata_and_is_not_cancelled() {
    let mut dialogue = dialogue(Revision::LATEST_LEGACY);
    let params = dialogue.initialize_params(Revision::LATEST_LEGACY);
    let (_, out) = dialogue.request(T0, newcall("initialize", params));
    assert_eq!(sent(&out).1["params"].get("_meta"), None);
    assert!(matches!(dialogue.handle(after(10), Input::Tick)[0], Output::Cancel { text: None, .. }));
}

#[test]
fn a_legacy_call_with_nothing_to_say_in_its_metadata_has_none() {
    let mut dialogue = dialogue(Revision::LATEST_LEGACY);
    let params = Map::from_iter([("name".to_owned(), json!("t"))]);
    let new = Newcall { meta: Some(Arc::default()), ..newcall("tools/call", params) };
    let (_, out) = dialogue.request(T0, new);
    assert_eq!(sent(&out).1["params"], json!({ "name": "t" }));
}

#[test]
fn no_message_makes_it_panic() {
    for revision in [Revision::LATEST, Revision::V2024_11_05] {
        let mut dialogue = dialogue(revision);
        begin(&mut dialogue, "tools/call", true);
        for text in [
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1e999}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":[]}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":[]}"#,
            r#"{"jsonrpc":"2.0","id":-1,"method":"elicitation/create","params":[1]}"#,
            r#"{"jsonrpc":"2.0","error":{"code":1,"message":""}}"#,
        ] {
            if let Ok(Body::Single(message)) = Body::parse(text.as_bytes(), ScanLimits::default()) {
                let _: Vec<Output> = dialogue.handle(T0, Input::Message(message));
            }
        }
    }
}

/// The line was too long, or no JSON.
fn lose(dialogue: &mut Dialogue, wire_id: Option<i64>) -> Vec<Output> {
    let loss = Loss::Refused { status: None, why: "too long".to_owned() };
    dialogue.handle(T0, Input::Unreadable { wire_id, loss })
}

#[test]
fn an_answer_that_cannot_be_read_ends_its_call_at_once() {
    let mut dialogue = dialogue(Revision::LATEST_LEGACY);
    let (first, wire_id, _) = begin(&mut dialogue, "tools/call", false);
    let (second, ..) = begin(&mut dialogue, "tools/call", false);
    let out = lose(&mut dialogue, Some(wire_id));
    assert!(matches!(answered(&out).as_slice(), [(call, Err(CallError::Lost(_)))] if *call == first));
    assert_eq!(out.len(), 1, "there is nothing left to cancel");
    assert!(answered(&lose(&mut dialogue, Some(wire_id))).is_empty(), "nobody waits for it any more");
    let out = lose(&mut dialogue, None);
    assert!(matches!(answered(&out).as_slice(), [(call, Err(_))] if *call == second), "there is only one");
    assert_eq!(out.len(), 1);
    assert!(dialogue.is_idle());
}

#[test]
fn an_answer_to_nobody_knows_which_call_ends_them_all_but_no_subscription() {
    let mut dialogue = dialogue(Revision::LATEST);
    begin(&mut dialogue, "subscriptions/listen", false);
    let calls = [begin(&mut dialogue, "tools/call", false).0, begin(&mut dialogue, "tools/list", false).0];
    let out = lose(&mut dialogue, None);
    assert_eq!(answered(&out).iter().map(|(call, _)| *call).collect::<Vec<_>>(), calls);
    let cancelled = out.iter().filter(|output| matches!(output, Output::Cancel { text: Some(_), .. })).count();
    assert_eq!(cancelled, 2, "the server need not go on");
    assert!(!dialogue.is_idle());
}
