//! What can be said only when all is over: what never came, what was done how often, what took too long.

use std::collections::{HashMap, HashSet};

use super::{Checker, Op, Rule, Session, Task};
use crate::history::{Action, FaultKind, Outcome};

/// A change of a resource: the earliest that it can have happened, and when it was known.
#[derive(Debug, Clone, Copy)]
struct Change {
    changed_us: u64,
    known_us: u64,
    call: u64,
}

impl Session {
    /// When its client no longer cared; never, if it did until the end.
    fn ended_us(&self) -> u64 {
        [self.delete_invoked_us, self.left_us].into_iter().flatten().min().unwrap_or(u64::MAX)
    }
}

impl Checker {
    pub(super) fn check_ends(&mut self) {
        let healed_us = self.faults.last().map_or(0, |fault| fault.stop_us.unwrap_or(self.last_us));
        self.check_restarts();
        let ops = std::mem::take(&mut self.ops);
        let tokens = std::mem::take(&mut self.tokens);
        let is_completed = |task: &&Task| task.end.as_deref() == Some("completed");
        let completed = self.tasks.values().filter(is_completed).map(|task| task.created_by).collect();
        for (token, calls) in &tokens {
            self.check_execution(token, calls, &ops, &completed);
        }
        for (number, op) in &ops {
            self.check_answer(*number, op, healed_us);
        }
        self.check_tasks(healed_us);
        self.report.executed = self.ledger.values().sum();
        let unasked: Vec<String> = self.ledger.keys().filter(|token| !tokens.contains_key(*token)).cloned().collect();
        for token in unasked {
            self.tell(Rule::Unasked, self.last_us, 0, format!("the ledger has {token:?}, for which nobody called"));
        }
        self.check_subscriptions(&ops, healed_us);
    }

    /// Each process was followed by another one soon enough.
    fn check_restarts(&mut self) {
        let mut found = Vec::new();
        let died: Vec<_> = self.faults.iter().filter(|fault| fault.kind.ends_process()).collect();
        for (index, fault) in died.iter().enumerate() {
            let next = died.get(index + 1).map_or(self.last_us, |next| next.start_us);
            // Who is asked to end takes the time that its calls need.
            let since = if fault.kind == FaultKind::Terminate { fault.down_us } else { None };
            let gap = fault.served_us.unwrap_or(next).saturating_sub(since.unwrap_or(fault.start_us));
            if fault.served_us.is_some() {
                self.report.restart_us_max = self.report.restart_us_max.max(gap);
            }
            if gap > self.bounds.restart_us {
                found.push((fault.start_us, format!("nothing was answered for {} ms after a fault", gap / 1000)));
            }
        }
        for (at, why) in found {
            self.tell(Rule::Outage, at, 0, why);
        }
    }

    /// What was to be executed was, as often as was said.
    fn check_execution(&mut self, token: &str, calls: &[u64], ops: &HashMap<u64, Op>, completed: &HashSet<u64>) {
        let count = self.ledger.get(token).copied().unwrap_or_default();
        let calls: Vec<(u64, &Op)> = calls.iter().filter_map(|call| Some((*call, ops.get(call)?))).collect();
        let Some((first, op)) = calls.first().copied() else { return };
        let is_completed = completed.contains(&first);
        let mut tell = |rule, why: String| self.tell(rule, op.invoked_us, first, why);
        if count > 1 {
            tell(Rule::DoubleExecution, format!("{token} was executed {count} times"));
        }
        let is_success = |(_, op): &(u64, &Op)| matches!(op.call.outcome, Some(Outcome::Success { .. }));
        if count == 0 && (is_completed || calls.iter().any(is_success)) {
            tell(Rule::EffectLost, format!("{token} is said to be executed, and is not in the ledger"));
        }
        if count > 0 && calls.iter().all(|(_, op)| op.call.refused.is_some()) {
            tell(Rule::RefusedButExecuted, format!("{token} was refused with {:?}", op.call.refused));
        }
        if let Some(cancel) = op.call.cancel
            && let (Some(acked), Action::Call { delay_ms, .. }) = (cancel.acked_us, &op.action)
            && op.call.acked_us.is_some_and(|call| call < cancel.invoked_us)
            && op.invoked_us + delay_ms * 1000 > acked
            && count > 0
        {
            tell(Rule::CancelLost, format!("{token} was executed after its cancellation was acknowledged"));
        }
    }

    /// Each task came to its end, unless its client left before.
    fn check_tasks(&mut self, healed_us: u64) {
        let mut silent = Vec::new();
        for (task, known) in &self.tasks {
            let due_us = healed_us.max(known.acked_us) + self.bounds.resolve_us;
            let session = self.sessions.get(&known.session);
            if known.end.is_none() && session.map_or(self.last_us, Session::ended_us) >= due_us {
                silent.push((known.created_by, known.acked_us, format!("the task {task} was never over")));
            }
        }
        for (call, at, why) in silent {
            self.tell(Rule::Silence, at, call, why);
        }
    }

    fn check_answer(&mut self, number: u64, op: &Op, healed_us: u64) {
        if !op.action.has_response() {
            return;
        }
        let (logs, delay_ms) = match &op.action {
            // With a key it may be the answer to an earlier one, on whose stream it logged.
            Action::Call { delay_ms, key, .. } => (key.is_none(), *delay_ms),
            _ => (false, 0),
        };
        let session = op.session.as_ref().and_then(|id| self.sessions.get(id));
        let ended_us = session.and_then(|session| session.delete_invoked_us);
        let level_us = session.and_then(|session| session.level_us);
        let due_us = healed_us.max(op.invoked_us + delay_ms * 1000) + self.bounds.resolve_us;
        match (op.call.acked_us, op.call.answered_us) {
            (Some(acked), None) if ended_us.is_none() && op.call.cancel.is_none() => {
                self.tell(Rule::Silence, acked, number, "it was acknowledged and never answered");
            }
            (_, Some(answered)) if answered > due_us => {
                let why = format!("it was answered {} ms after all was whole", (answered - healed_us) / 1000);
                self.tell(Rule::Late, answered, number, why);
            }
            _ => {}
        }
        let is_success = logs && matches!(op.call.outcome, Some(Outcome::Success { .. }));
        if is_success && !op.call.logged && level_us.is_some_and(|level| level < op.invoked_us) {
            self.tell(Rule::LevelLost, op.invoked_us, number, "nothing was logged at the level that was set");
        }
    }

    /// After each change there was an update for each subscription that was acknowledged before it.
    fn check_subscriptions(&mut self, ops: &HashMap<u64, Op>, healed_us: u64) {
        let changes = changes(ops, &self.ledger);
        let mut found = Vec::new();
        for session in self.sessions.values() {
            // Whoever leaves may leave before it is announced.
            let ended_us = session.ended_us();
            for (uri, subscription) in &session.subscriptions {
                let Some(acked_us) = subscription.acked_us else { continue };
                let Some(changes) = changes.get(uri) else { continue };
                let updates = subscription.updates_us.iter().copied().filter(|update| *update >= acked_us);
                let mut since = acked_us;
                for until in updates.map(Some).chain([None]) {
                    // The first change that this update, or the lack of one, is about.
                    let first = changes.partition_point(|change| change.changed_us < since);
                    let Some(change) = changes.get(first) else { break };
                    let due_us = healed_us.max(change.known_us) + self.bounds.resolve_us;
                    since = until.map_or(since, |until| until + 1);
                    match until {
                        Some(until) if change.changed_us <= until && until > due_us => {
                            found.push((Rule::Late, *change, format!("the change of {uri} was announced late")));
                        }
                        None if ended_us >= change.known_us + self.bounds.resolve_us => {
                            let why = format!("the change of {uri} was never announced to one who had subscribed");
                            found.push((Rule::SubscriptionLost, *change, why));
                        }
                        _ => {}
                    }
                }
            }
        }
        for (rule, change, why) in found {
            self.tell(rule, change.known_us, change.call, why);
        }
    }
}

/// The changes of each resource that are known to have happened, in their order.
fn changes(ops: &HashMap<u64, Op>, ledger: &HashMap<String, u64>) -> HashMap<String, Vec<Change>> {
    let mut changes: HashMap<String, Vec<Change>> = HashMap::new();
    for (call, op) in ops {
        if let Action::Call { changes: Some(uri), delay_ms, token, .. } = &op.action
            && let (true, Some(known_us)) = (ledger.contains_key(token), op.call.answered_us)
        {
            let change = Change { changed_us: op.invoked_us + delay_ms * 1000, known_us, call: *call };
            changes.entry(uri.clone()).or_default().push(change);
        }
    }
    changes.values_mut().for_each(|changes| changes.sort_by_key(|change| change.changed_us));
    changes
}
