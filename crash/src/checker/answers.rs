//! What a request may be answered with.

use super::streams::Received;
use super::{Checker, Rule, Task};
use crate::history::{Action, Outcome};

/// The JSON-RPC code of what cannot be done now.
const UNAVAILABLE: i64 = -32000;

impl Checker {
    pub(super) fn response(&mut self, at: u64, received: &Received, call: u64, outcome: &Outcome) {
        let Some(op) = self.ops.get_mut(&call) else { return };
        op.call.responses += 1;
        if op.call.responses > 1 {
            return self.tell(Rule::TwoResponses, at, call, format!("another answer: {outcome:?}"));
        }
        op.call.answered_us = Some(at);
        op.call.outcome = Some(outcome.clone());
        if matches!(outcome, Outcome::Error { code: UNAVAILABLE, .. }) {
            return self.unavailable(at, call);
        }
        let Some(op) = self.ops.get(&call) else { return };
        let (action, is_cancelled) = (op.action.clone(), op.call.cancel.is_some());
        let session = self.sessions.get(&received.session);
        let is_ending = is_cancelled || session.is_some_and(|session| session.delete_invoked_us.is_some());
        match (&action, outcome) {
            (Action::Create { token }, Outcome::Task { task, status }) => {
                self.report.acks[7] += 1;
                let (session, end) = (received.session.clone(), None);
                let known = Task { token: token.clone(), created_by: call, session, acked_us: at, end };
                self.tasks.insert(task.clone(), known);
                self.status(at, call, task, status);
            }
            (Action::Poll { task }, Outcome::Task { task: given, status }) if task == given => {
                self.status(at, call, task, status);
            }
            (Action::Result { task }, _) => self.result(at, call, task, outcome),
            (_, Outcome::Success { token }) if action.token().is_none_or(|asked| asked == token) => {}
            (_, Outcome::Success { .. } | Outcome::Task { .. }) => {
                self.tell(Rule::WrongStream, at, call, format!("{action:?} was answered with {outcome:?}"));
            }
            (_, Outcome::Unknown) => {
                self.report.unknown += 1;
                if !self.may_be_unknown(call) && !is_ending {
                    self.tell(Rule::Unexplained, at, call, "the outcome is unknown though no process died");
                }
            }
            (_, Outcome::Error { .. }) if is_ending => {}
            (Action::Poll { task }, _) => self.tell(Rule::TaskLost, at, call, format!("{task}: {outcome:?}")),
            _ => self.tell(Rule::Unexplained, at, call, format!("answered with {outcome:?}")),
        }
    }

    /// A stream that was promised can say only so that nothing was done.
    fn unavailable(&mut self, at: u64, call: u64) {
        self.report.unavailable += 1;
        if let Some(op) = self.ops.get_mut(&call) {
            op.call.refused = Some(503);
        }
        if !self.is_near_fault(at) {
            self.tell(Rule::Outage, at, call, "unavailable without a fault");
        }
    }

    /// Whether a process died since what `call` is to execute was sent first.
    fn may_be_unknown(&self, call: u64) -> bool {
        let same = self.ops.get(&call).and_then(|op| op.action.token()).and_then(|token| self.tokens.get(token));
        let first = same.and_then(|calls| calls.first()).unwrap_or(&call);
        let Some(first) = self.ops.get(first) else { return false };
        // One that was still going on when the call was sent may have met it.
        let mut later = self.faults.iter().skip(first.faults_before.saturating_sub(1));
        later.any(|fault| fault.kind.ends_process() && fault.stop_us.is_none_or(|stop| stop >= first.invoked_us))
    }

    fn status(&mut self, at: u64, call: u64, task: &str, status: &str) {
        let Some(known) = self.tasks.get_mut(task) else { return };
        let is_over = !matches!(status, "working" | "input_required");
        match known.end.clone() {
            Some(end) if end != status => {
                self.tell(Rule::TaskChanged, at, call, format!("the task was {end}, and is {status}"));
            }
            None if is_over => known.end = Some(status.to_owned()),
            _ => {}
        }
    }

    /// The result of a task that is over: what the call would have been answered with.
    fn result(&mut self, at: u64, call: u64, task: &str, outcome: &Outcome) {
        let Some(known) = self.tasks.get(task) else { return };
        let is_completed = known.end.as_deref() == Some("completed");
        let is_good = match outcome {
            Outcome::Success { token } => is_completed && *token == known.token,
            Outcome::Unknown | Outcome::Error { .. } => !is_completed,
            Outcome::Task { .. } => false,
        };
        if !is_good {
            let why = format!("the task is {:?}, and its result {outcome:?}", known.end);
            self.tell(Rule::TaskLost, at, call, why);
        }
    }
}
