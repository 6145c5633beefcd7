use super::{Bounds, Checker, Floor, Report, Rule};
use crate::history::{Action, Entry, Event, FaultKind, Outcome, Says, digest};

const NO_FLOOR: Floor = Floor { acks: 0, faults: 0 };
const URI: &str = "test://ledger/a";

/// A history that is written by hand; each entry is 10 ms after the one before.
#[derive(Clone, Default)]
struct Story {
    entries: Vec<Entry>,
    at_us: u64,
}

impl Story {
    fn tell(&mut self, event: Event) -> usize {
        self.at_us += 10_000;
        self.entries.push(Entry { at_us: self.at_us, by: 1, event });
        self.entries.len() - 1
    }

    fn invoke(&mut self, op: u64, session: &str, action: Action) -> usize {
        let session = (!session.is_empty()).then(|| session.to_owned());
        self.tell(Event::Invoke { op, session, action })
    }

    fn ok(&mut self, op: u64) -> usize {
        self.tell(Event::Ok { op, session: None })
    }

    fn fail(&mut self, op: u64, status: u16) -> usize {
        self.tell(Event::Fail { op, status, why: "no".to_owned() })
    }

    fn open(&mut self, op: u64, session: &str) {
        self.invoke(op, "", Action::Init { revision: "2025-11-25".to_owned() });
        self.tell(Event::Ok { op, session: Some(session.to_owned()) });
        self.invoke(op + 1, session, Action::Initialized);
        self.ok(op + 1);
    }

    fn call(&mut self, op: u64, session: &str, delay_ms: u64) -> usize {
        let action = Action::Call { token: token(op), delay_ms, changes: Some(URI.to_owned()), key: None };
        self.invoke(op, session, action)
    }

    fn resume(&mut self, op: u64, session: &str, stream: u64, sequence: u32) {
        let last_id = format!("7-{stream:x}-{sequence:x}");
        self.invoke(op, session, Action::Resume { stream, last_id });
        self.ok(op);
    }

    /// An event of `stream` on the connection of `conn`.
    fn event(&mut self, (conn, stream): (u64, u64), session: &str, sequence: u32, says: Says) -> usize {
        let digest = digest(format!("{says:?}").as_bytes());
        let (session, event_id) = (session.to_owned(), Some(format!("7-{stream:x}-{sequence:x}")));
        self.tell(Event::Recv { conn, session, stream, event_id, digest, says })
    }

    /// The answer to a request, as a whole body.
    fn answer(&mut self, op: u64, session: &str, outcome: Outcome) -> usize {
        let says = Says::Response { call: op, outcome };
        let (session, digest) = (session.to_owned(), 0);
        self.tell(Event::Recv { conn: op, session, stream: op, event_id: None, digest, says })
    }

    fn create(&mut self, op: u64, session: &str, task: &str) -> usize {
        self.invoke(op, session, Action::Create { token: token(op) });
        self.answer(op, session, is(task, "working"))
    }

    fn poll(&mut self, op: u64, session: &str, task: &str, status: &str) -> usize {
        self.invoke(op, session, Action::Poll { task: task.to_owned() });
        self.answer(op, session, is(task, status))
    }

    /// The same call with the same key, under another number.
    fn keyed(&mut self, op: u64, of: u64, session: &str) {
        let key = Some("key".to_owned());
        self.invoke(op, session, Action::Call { token: token(of), delay_ms: 0, changes: None, key });
    }

    fn fault(&mut self, kind: FaultKind) {
        self.tell(Event::FaultStart { fault: 1, kind });
        self.tell(Event::FaultDown { fault: 1 });
        self.tell(Event::FaultUp { fault: 1 });
        self.tell(Event::FaultStop { fault: 1 });
    }

    fn executed(&mut self, op: u64) -> usize {
        self.tell(Event::Ledger { token: token(op) })
    }

    fn check(&self, floor: Floor) -> Report {
        let mut checker = Checker::new(Bounds::default());
        self.entries.iter().cloned().for_each(|entry| checker.take(entry));
        checker.finish(floor)
    }

    /// The rules that were violated, each once.
    fn rules(&self) -> Vec<Rule> {
        let mut rules: Vec<Rule> = self.check(NO_FLOOR).violations.iter().map(|found| found.rule).collect();
        rules.sort();
        rules.dedup();
        rules
    }
}

fn is(task: &str, status: &str) -> Outcome {
    Outcome::Task { task: task.to_owned(), status: status.to_owned() }
}

fn token(op: u64) -> String {
    format!("1-{op}")
}

fn success(call: u64) -> Says {
    Says::Response { call, outcome: Outcome::Success { token: token(call) } }
}

fn unknown(call: u64) -> Says {
    Says::Response { call, outcome: Outcome::Unknown }
}

fn progress(call: u64, value: f64) -> Says {
    Says::Progress { call, value }
}

fn updated() -> Says {
    Says::Updated { uri: URI.to_owned() }
}

/// Where things are in [`clean`].
struct Places {
    first_progress: usize,
    second_progress: usize,
    response: usize,
    replayed: usize,
    update: usize,
    unknown: usize,
    polled: usize,
    result: usize,
    ledger: usize,
}

/// Two sessions, of which one subscribes and is deleted in the end; a call over a lost connection, and one over a kill.
fn clean() -> (Story, Places) {
    let mut story = Story::default();
    story.open(1, "a");
    story.open(3, "b");
    story.invoke(5, "a", Action::Subscribe { uri: URI.to_owned() });
    story.ok(5);
    story.invoke(6, "a", Action::SetLevel);
    story.ok(6);
    story.invoke(7, "a", Action::Listen);
    story.ok(7);
    story.event((7, 7), "a", 0, Says::Priming);
    story.call(10, "b", 20);
    story.event((10, 10), "b", 0, Says::Priming);
    let first_progress = story.event((10, 10), "b", 1, progress(10, 10.0));
    let second_progress = story.event((10, 10), "b", 2, progress(10, 20.0));
    story.tell(Event::Info { op: 10, why: "cut".to_owned() });
    story.resume(11, "b", 10, 1);
    let replayed = story.event((11, 10), "b", 2, progress(10, 20.0));
    let response = story.event((11, 10), "b", 3, success(10));
    let update = story.event((7, 7), "a", 1, updated());
    story.create(8, "a", "t");
    story.call(12, "a", 100);
    story.event((12, 12), "a", 0, Says::Priming);
    story.event((12, 12), "a", 1, Says::Log { token: token(12) });
    story.fault(FaultKind::Kill);
    story.resume(13, "a", 12, 1);
    let unknown = story.event((13, 12), "a", 2, unknown(12));
    story.resume(14, "a", 7, 1);
    story.event((14, 7), "a", 2, updated());
    story.call(15, "b", 0);
    story.event((15, 15), "b", 0, Says::Priming);
    story.invoke(16, "b", Action::Cancel { call: 15 });
    story.ok(16);
    story.invoke(17, "b", Action::Delete);
    story.ok(17);
    story.invoke(18, "b", Action::Ping);
    story.fail(18, 404);
    story.invoke(19, "a", Action::Ping);
    story.ok(19);
    let polled = story.poll(20, "a", "t", "completed");
    story.invoke(21, "a", Action::Result { task: "t".to_owned() });
    let result = story.answer(21, "a", Outcome::Success { token: token(8) });
    story.keyed(22, 22, "a");
    story.tell(Event::Info { op: 22, why: "given up".to_owned() });
    story.keyed(23, 22, "a");
    story.answer(23, "a", Outcome::Success { token: token(22) });
    let ledger = story.executed(10);
    story.executed(8);
    story.executed(22);
    (story, Places { first_progress, second_progress, response, replayed, update, unknown, polled, result, ledger })
}

/// What is found in the clean history after `plant`.
fn planted(plant: impl FnOnce(&mut Story, Places)) -> Vec<Rule> {
    let (mut story, places) = clean();
    plant(&mut story, places);
    story.rules()
}

/// Changes the message at `index`.
fn say(story: &mut Story, index: usize, change: impl FnOnce(&mut Says, &mut u64)) {
    let Event::Recv { says, digest, .. } = &mut story.entries[index].event else { panic!("a message is there") };
    change(says, digest);
}

#[test]
fn a_clean_history_passes_and_is_counted() {
    let report = clean().0.check(Floor { acks: 20, faults: 1 });
    assert_eq!(report.violations, [], "{report}");
    assert_eq!(report.acks, [0, 2, 3, 3, 11, 3, 1, 1, 1]);
    assert_eq!((report.faults(), report.replayed, report.unknown, report.executed), (1, 1, 1, 3));
    assert!(report.to_string().starts_with("checked 25 acknowledgements over 1 faults"), "{report}");
}

#[test]
fn a_history_that_is_too_small_fails() {
    let (story, _) = clean();
    for floor in [Floor { acks: 26, faults: 1 }, Floor { acks: 1, faults: 2 }] {
        assert!(story.check(floor).violations.iter().any(|found| found.rule == Rule::Vacuous));
    }
    let empty = Story::default().check(Floor { acks: 1, faults: 1 });
    assert!(empty.violations.len() >= 2, "{empty}");
    assert_eq!(Story::default().rules(), []);
}

#[test]
fn a_dropped_event_is_caught() {
    assert_eq!(planted(|story, places| drop_event(story, places.first_progress)), [Rule::Gap]);
    // The first after a resumption.
    assert_eq!(planted(|story, places| drop_event(story, places.replayed)), [Rule::Gap]);
}

fn drop_event(story: &mut Story, index: usize) {
    story.entries.remove(index);
}

#[test]
fn a_duplicate_is_caught() {
    let twice = |story: &mut Story, places: Places| {
        let again = story.entries[places.first_progress].clone();
        story.entries.insert(places.first_progress + 1, again);
    };
    assert_eq!(planted(twice), [Rule::Repeated]);
    let seen_already = |story: &mut Story, places: Places| {
        let mut again = story.entries[places.first_progress].clone();
        if let Event::Recv { conn, .. } = &mut again.event {
            *conn = 11;
        }
        story.entries.insert(places.replayed, again);
    };
    assert_eq!(planted(seen_already), [Rule::Repeated]);
}

#[test]
fn a_question_that_is_asked_twice_is_caught() {
    let ask = |times: u32| {
        move |story: &mut Story, _: Places| {
            story.invoke(30, "a", Action::Ask);
            for sequence in 1..=times {
                let question = Says::Question { question: "andon-1".to_owned() };
                story.event((30, 30), "a", sequence, question);
            }
            story.invoke(31, "a", Action::Answer { call: 30, question: "andon-1".to_owned() });
            story.ok(31);
            let outcome = Outcome::Success { token: "done".to_owned() };
            story.event((30, 30), "a", times + 1, Says::Response { call: 30, outcome });
        }
    };
    assert_eq!(planted(ask(1)), []);
    assert_eq!(planted(ask(2)), [Rule::Repeated]);
}

#[test]
fn a_swap_is_caught() {
    let swap = |story: &mut Story, places: Places| {
        story.entries.swap(places.first_progress, places.second_progress);
        story.entries.remove(places.replayed);
    };
    assert!(planted(swap).contains(&Rule::OutOfOrder));
}

#[test]
fn a_message_for_another_session_is_caught() {
    let cross = |story: &mut Story, _: Places| {
        story.event((14, 7), "a", 3, success(10));
    };
    assert_eq!(planted(cross), [Rule::WrongSession]);
    let update = |story: &mut Story, _: Places| {
        story.event((14, 7), "a", 3, Says::Updated { uri: "test://ledger/b".to_owned() });
    };
    assert_eq!(planted(update), [Rule::WrongSession]);
}

#[test]
fn a_message_on_another_stream_is_caught() {
    let astray = |story: &mut Story, _: Places| {
        story.event((14, 7), "a", 3, unknown(12));
    };
    assert_eq!(planted(astray), [Rule::WrongStream]);
    let exchanged = |story: &mut Story, places: Places| {
        say(story, places.response, |says, _| {
            *says = Says::Response { call: 10, outcome: Outcome::Success { token: token(12) } };
        });
        story.executed(12);
    };
    assert_eq!(planted(exchanged), [Rule::WrongStream]);
}

#[test]
fn s8_a_session_that_answers_after_its_end_is_caught() {
    let answers = |story: &mut Story, _: Places| {
        story.invoke(30, "b", Action::Ping);
        story.ok(30);
    };
    assert_eq!(planted(answers), [Rule::Resurrected]);
    let refuses = |story: &mut Story, _: Places| {
        story.invoke(30, "b", Action::Ping);
        story.fail(30, 400);
    };
    assert_eq!(planted(refuses), [Rule::Resurrected]);
    let speaks = |story: &mut Story, _: Places| {
        story.invoke(30, "b", Action::Resume { stream: 15, last_id: "7-f-0".to_owned() });
        story.event((30, 15), "b", 1, success(15));
        story.executed(15);
    };
    assert!(planted(speaks).contains(&Rule::Resurrected));
}

#[test]
fn what_was_acknowledged_and_is_gone_after_a_kill_is_caught() {
    let session = |story: &mut Story, _: Places| {
        story.invoke(30, "a", Action::Ping);
        story.fail(30, 404);
    };
    assert_eq!(planted(session), [Rule::SessionLost]);
    for status in [400, 404] {
        let event = |story: &mut Story, _: Places| {
            story.invoke(30, "a", Action::Resume { stream: 7, last_id: "7-7-2".to_owned() });
            story.fail(30, status);
        };
        assert_eq!(planted(event), [Rule::StreamLost]);
    }
    let effect = |story: &mut Story, places: Places| drop_event(story, places.ledger);
    assert_eq!(planted(effect), [Rule::EffectLost]);
    let subscription = |story: &mut Story, _: Places| {
        story.call(30, "a", 0);
        story.event((30, 30), "a", 0, Says::Priming);
        story.event((30, 30), "a", 1, Says::Log { token: token(30) });
        story.event((30, 30), "a", 2, success(30));
        story.executed(30);
    };
    assert_eq!(planted(subscription), [Rule::SubscriptionLost]);
    let level = |story: &mut Story, _: Places| {
        story.call(30, "a", 0);
        story.event((30, 30), "a", 0, Says::Priming);
        story.event((30, 30), "a", 1, success(30));
        story.executed(30);
        story.event((14, 7), "a", 3, updated());
    };
    assert_eq!(planted(level), [Rule::LevelLost]);
    let cancellation = |story: &mut Story, _: Places| {
        story.call(30, "a", 500);
        story.event((30, 30), "a", 0, Says::Priming);
        story.invoke(31, "a", Action::Cancel { call: 30 });
        story.ok(31);
        story.executed(30);
    };
    assert_eq!(planted(cancellation), [Rule::CancelLost]);
}

#[test]
fn a_second_execution_is_caught() {
    let twice = |story: &mut Story, _: Places| {
        story.executed(10);
    };
    assert_eq!(planted(twice), [Rule::DoubleExecution]);
    let rerun = |story: &mut Story, _: Places| {
        story.executed(12);
        story.executed(12);
    };
    assert_eq!(planted(rerun), [Rule::DoubleExecution]);
    let unasked = |story: &mut Story, _: Places| {
        story.executed(99);
    };
    assert_eq!(planted(unasked), [Rule::Unasked]);
    let refused = |story: &mut Story, _: Places| {
        story.call(30, "a", 0);
        story.fail(30, 429);
        story.executed(30);
    };
    assert_eq!(planted(refused), [Rule::RefusedButExecuted]);
}

#[test]
fn two_final_responses_are_caught() {
    let unlike = |story: &mut Story, _: Places| {
        story.event((13, 12), "a", 3, success(12));
    };
    assert_eq!(planted(unlike), [Rule::TwoResponses]);
    let alike = |story: &mut Story, _: Places| {
        story.event((13, 12), "a", 3, unknown(12));
    };
    assert_eq!(planted(alike), [Rule::TwoResponses]);
    let unasked = |story: &mut Story, _: Places| {
        story.event((13, 12), "a", 3, unknown(98));
    };
    assert_eq!(planted(unasked), [Rule::Unasked]);
}

#[test]
fn silence_is_caught() {
    assert_eq!(planted(|story, places| drop_event(story, places.unknown)), [Rule::Silence]);
    let late = |story: &mut Story, places: Places| {
        let later = |entry: &mut Entry| entry.at_us += 61_000_000;
        story.entries[places.unknown..].iter_mut().for_each(later);
    };
    assert!(planted(late).contains(&Rule::Late));
    let deaf = |story: &mut Story, places: Places| {
        drop_event(story, places.update);
        // The sequence goes on without it, and what the restart announces is missing too.
        let is_later = |entry: &Entry| matches!(&entry.event, Event::Recv { conn: 14, .. });
        story.entries.retain(|entry| !is_later(entry));
    };
    assert_eq!(planted(deaf), [Rule::SubscriptionLost]);
}

#[test]
fn changed_bytes_are_caught() {
    assert_eq!(planted(|story, places| say(story, places.replayed, |_, digest| *digest += 1)), [Rule::ChangedBytes]);
}

#[test]
fn progress_that_goes_back_is_caught() {
    let back = |story: &mut Story, places: Places| {
        say(story, places.second_progress, |says, _| *says = progress(10, 5.0));
    };
    assert_eq!(planted(back), [Rule::ProgressBack]);
    let after = |story: &mut Story, _: Places| {
        story.event((11, 10), "b", 4, progress(10, 30.0));
    };
    let rules = planted(after);
    assert!(rules.contains(&Rule::AfterResponse), "{rules:?}");
}

#[test]
fn k7_tasks_that_are_lost_or_change_are_caught() {
    let gone = |story: &mut Story, places: Places| {
        say(story, places.polled, |says, _| {
            let outcome = Outcome::Error { code: -32602, message: "no such task".to_owned() };
            *says = Says::Response { call: 20, outcome };
        });
        story.entries.truncate(places.result - 1);
    };
    assert!(planted(gone).contains(&Rule::TaskLost));
    let silent = |story: &mut Story, places: Places| {
        story.entries.truncate(places.polled - 1);
        story.at_us += 61_000_000;
        story.poll(30, "a", "t", "working");
    };
    assert!(planted(silent).contains(&Rule::Silence));
    let again = |story: &mut Story, _: Places| {
        story.poll(30, "a", "t", "working");
    };
    assert_eq!(planted(again), [Rule::TaskChanged]);
    let other = |story: &mut Story, places: Places| {
        say(story, places.result, |says, _| {
            *says = Says::Response { call: 21, outcome: Outcome::Success { token: token(10) } };
        });
    };
    assert_eq!(planted(other), [Rule::TaskLost]);
    let nothing = |story: &mut Story, _: Places| {
        story.create(30, "a", "u");
        story.poll(31, "a", "u", "completed");
    };
    assert_eq!(planted(nothing), [Rule::EffectLost]);
    let twice = |story: &mut Story, _: Places| {
        story.executed(8);
    };
    assert_eq!(planted(twice), [Rule::DoubleExecution]);
}

#[test]
fn a_key_that_does_not_hold_is_caught() {
    let twice = |story: &mut Story, _: Places| {
        story.executed(22);
    };
    assert_eq!(planted(twice), [Rule::DoubleExecution]);
    let other = |story: &mut Story, _: Places| {
        story.keyed(30, 22, "a");
        story.answer(30, "a", Outcome::Success { token: token(10) });
    };
    assert_eq!(planted(other), [Rule::WrongStream]);
    let unknown = |story: &mut Story, _: Places| {
        story.keyed(30, 22, "a");
        story.answer(30, "a", Outcome::Unknown);
    };
    assert_eq!(planted(unknown), [Rule::Unexplained]);
}

#[test]
fn errors_without_a_reason_are_caught() {
    let error = |story: &mut Story, places: Places| {
        say(story, places.unknown, |says, _| {
            let outcome = Outcome::Error { code: -32603, message: "internal".to_owned() };
            *says = Says::Response { call: 12, outcome };
        });
    };
    assert_eq!(planted(error), [Rule::Unexplained]);
    let no_fault = |story: &mut Story, places: Places| {
        say(story, places.response, |says, _| *says = unknown(10));
    };
    assert_eq!(planted(no_fault), [Rule::Unexplained]);
}

#[test]
fn a_service_that_is_gone_for_too_long_is_caught() {
    let slow = |story: &mut Story, places: Places| {
        let from = story.entries.iter().position(|entry| matches!(entry.event, Event::FaultUp { .. })).unwrap();
        assert!(from < places.unknown);
        story.entries[from..].iter_mut().for_each(|entry| entry.at_us += 11_000_000);
    };
    assert_eq!(planted(slow), [Rule::Outage]);
    let mut story = Story::default();
    story.open(1, "a");
    story.invoke(3, "a", Action::Ping);
    story.fail(3, 503);
    assert_eq!(story.rules(), [Rule::Outage]);
}

#[test]
fn x10_a_full_disk_excuses_refusals_and_has_to_cause_some() {
    let full = |refused: bool| {
        let mut story = Story::default();
        story.open(1, "a");
        story.tell(Event::FaultStart { fault: 1, kind: FaultKind::Full });
        story.call(3, "a", 0);
        if refused {
            story.fail(3, 503);
        }
        story.tell(Event::FaultStop { fault: 1 });
        story
    };
    assert_eq!(full(true).rules(), []);
    assert_eq!(full(false).rules(), [Rule::Vacuous]);
    let mut executed = full(true);
    executed.executed(3);
    assert_eq!(executed.rules(), [Rule::RefusedButExecuted]);
}

#[test]
fn what_a_dead_process_says_is_caught() {
    let ghost = |story: &mut Story, _: Places| {
        story.tell(Event::FaultStart { fault: 2, kind: FaultKind::Kill });
        story.tell(Event::FaultDown { fault: 2 });
        story.invoke(30, "a", Action::Ping);
        story.ok(30);
        story.tell(Event::FaultUp { fault: 2 });
    };
    assert_eq!(planted(ghost), [Rule::ServedWhileDown]);
}

#[test]
fn each_rule_has_an_invariant() {
    for rule in Rule::ALL {
        assert!(rule.to_string().starts_with(rule.invariant()));
    }
}
