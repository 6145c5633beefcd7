use std::time::Duration;

use andon_types::capability::ClientCapabilities;
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::revision::Revision;
use andon_types::task::TaskStatus;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use serde_json::{Value, json};

use super::{Beginning, Outcome, QuestionLimits, Task};
use crate::io::{AskError, AskId, Reply, Timestamp};

const LIMITS: QuestionLimits = QuestionLimits { open_max: 4, all_max: 10 };

fn task(revision: Revision) -> Task {
    Task::new(Beginning {
        id: "id".into(),
        owner: 7,
        revision,
        runner: 1,
        now: Timestamp(1_000),
        ttl: Duration::from_secs(60),
        poll_interval: Duration::from_millis(500),
    })
}

fn client() -> ClientCapabilities {
    serde_json::from_value(json!({"elicitation": {}})).unwrap()
}

fn question() -> InputRequest {
    InputRequest::form("name?", json!({"type": "object", "properties": {}}))
}

fn result(is_error: bool) -> Outcome {
    let meta = Some(serde_json::from_value(json!({"x": 1})).unwrap());
    let reply = Reply { body: r#"{"content":[]}"#.to_owned().into(), meta, ..Reply::default() };
    Outcome::reply(&reply, is_error).unwrap()
}

#[test]
fn task_c_and_e_a_failed_tool_is_a_failure_before_and_a_result_after() {
    for (revision, status) in [(Revision::LATEST_LEGACY, TaskStatus::Failed), (Revision::LATEST, TaskStatus::Completed)]
    {
        let mut task = task(revision);
        assert!(task.finish(Timestamp(2_000), result(true)));
        assert_eq!(task.status(), status, "{revision}");
    }
}

#[test]
fn task_e_everything_is_inlined_by_status() {
    let mut task = task(Revision::LATEST);
    let detail = |task: &Task| serde_json::from_str::<Value>(&task.detail()).unwrap();
    assert_eq!(detail(&task)["status"], "working");
    task.ask(Timestamp(2_000), (AskId(1), "name".into(), question()), &client(), LIMITS).unwrap();
    let asked = detail(&task);
    assert_eq!(
        (&asked["status"], &asked["inputRequests"]["name"]["method"]),
        (&json!("input_required"), &json!("elicitation/create"))
    );
    assert_eq!(task.answer(Timestamp(3_000), "name"), Some(AskId(1)));
    assert_eq!(detail(&task)["status"], "working");
    task.finish(Timestamp(4_000), result(false));
    let done = detail(&task);
    assert_eq!(done["result"], json!({"resultType": "complete", "content": [], "_meta": {"x": 1}}));
    assert!(done.get("inputRequests").is_none() && done.get("error").is_none());
    assert_eq!(
        (&done["createdAt"], &done["lastUpdatedAt"]),
        (&json!("1970-01-01T00:00:01.000Z"), &json!("1970-01-01T00:00:04.000Z"))
    );
}

#[test]
fn task_e_keys_are_never_used_twice() {
    let mut task = task(Revision::LATEST);
    let mut keys = Vec::new();
    for ask in 1..=3 {
        task.ask(Timestamp(2_000), (AskId(ask), "name".into(), question()), &client(), LIMITS).unwrap();
        let key = task.questions()[0].key.to_string();
        task.answer(Timestamp(2_000), &key);
        keys.push(key);
    }
    assert_eq!(keys, ["name", "name-2", "name-3"]);
    assert_eq!(task.answer(Timestamp(2_000), "name"), None, "an answer that comes again is nobody's");
}

#[test]
fn questions_are_bounded_and_declared() {
    let mut task = task(Revision::LATEST);
    let none = ClientCapabilities::default();
    let ask = |task: &mut Task, number: u64, client: &ClientCapabilities| {
        task.ask(Timestamp(2_000), (AskId(number), "q".into(), question()), client, LIMITS)
    };
    assert!(matches!(ask(&mut task, 1, &none), Err(AskError::NotDeclared(_))));
    for number in 1..=4 {
        assert_eq!(ask(&mut task, number, &client()), Ok(()));
    }
    assert_eq!(ask(&mut task, 5, &client()), Err(AskError::TooMany), "four at once");
    for number in 6..=11 {
        assert!(task.withdraw(Timestamp(2_000), task.questions()[0].ask));
        assert_eq!(ask(&mut task, number, &client()), Ok(()), "{number}");
    }
    assert!(task.withdraw(Timestamp(2_000), task.questions()[0].ask));
    assert_eq!(ask(&mut task, 12, &client()), Err(AskError::TooMany), "ten altogether");
}

#[test]
fn a_record_is_read_as_it_was_written() {
    for outcome in [result(false), result(true), Outcome::Error(ErrorObject::internal()), Outcome::Cancelled] {
        let mut task = task(Revision::LATEST);
        task.finish(Timestamp(2_000), outcome);
        let read = Task::decode(&task.encode(), 7).unwrap();
        assert_eq!(read.detail(), task.detail());
        assert_eq!((read.owner(), read.runner(), read.expires_at()), (7, 1, Timestamp(61_000)));
    }
    assert!(Task::decode(b"{}", 7).is_err());
    let later =
        String::from_utf8(task(Revision::LATEST).encode().to_vec()).unwrap().replace("\"format\":1", "\"format\":2");
    assert!(Task::decode(later.as_bytes(), 7).unwrap_err().contains("format 2"));
}

/// A record that the first release wrote: every later one reads it.
#[test]
fn a_record_of_the_first_release_is_read() {
    let record = r#"{"format":1,"id":"0f","revision":"2025-11-25","runner":"ff","created_at_ms":1000,"updated_at_ms":2000,
        "ttl_ms":60000,"poll_interval_ms":500,"message":"m","outcome":{"result":{"body":{"content":[]},"is_error":false}}}"#;
    let task = Task::decode(record.as_bytes(), 7).unwrap();
    assert_eq!((task.status(), task.runner()), (TaskStatus::Completed, 255));
}

#[derive(Debug, Clone)]
enum Step {
    Ask,
    Answer(u64),
    Withdraw(u64),
    Finish(bool),
    Cancel,
    Interrupt,
    Say,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        proptest::strategy::Just(Step::Ask),
        (0u64..6).prop_map(Step::Answer),
        (0u64..6).prop_map(Step::Withdraw),
        any::<bool>().prop_map(Step::Finish),
        proptest::strategy::Just(Step::Cancel),
        proptest::strategy::Just(Step::Interrupt),
        proptest::strategy::Just(Step::Say),
    ]
}

proptest! {
    #[test]
    fn no_record_is_too_bad_to_be_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..300, body in "[\\[\\]{}1a\" ]{0,6}") {
        drop(Task::decode(&bytes, 7));
        let mut whole = task(Revision::LATEST);
        whole.finish(Timestamp(2_000), result(true));
        let whole = whole.encode();
        drop(Task::decode(&whole[..cut.min(whole.len())], 7).map(|task| task.detail()));
        let bad = String::from_utf8_lossy(&whole).replace(r#"{"content":[]}"#, &body);
        drop(Task::decode(bad.as_bytes(), 7).map(|task| task.detail()));
    }

    #[test]
    fn task_c_what_is_over_stays_as_it_is(steps in proptest::collection::vec(step(), 1..40)) {
        let mut task = task(Revision::LATEST_LEGACY);
        let mut last = None;
        for (index, step) in steps.into_iter().enumerate() {
            let (now, number) = (Timestamp(2_000 + index as u64), index as u64);
            match step {
                Step::Ask => drop(task.ask(now, (AskId(number), number.to_string().into(), question()), &client(), LIMITS)),
                Step::Answer(key) => drop(task.answer(now, &key.to_string())),
                Step::Withdraw(ask) => drop(task.withdraw(now, AskId(ask))),
                Step::Finish(is_error) => drop(task.finish(now, result(is_error))),
                Step::Cancel => drop(task.finish(now, Outcome::Cancelled)),
                Step::Interrupt => drop(task.interrupt(now)),
                Step::Say => task.say(now, "so far"),
            }
            assert_eq!(task.status().is_terminal(), task.is_over());
            assert!(!task.is_over() || task.questions().is_empty());
            if let Some(last) = &last {
                assert_eq!(last, &task.detail());
            }
            last = task.is_over().then(|| task.detail());
        }
    }
}
