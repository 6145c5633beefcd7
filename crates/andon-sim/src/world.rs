//! The world under one seed: who acts when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use andon_core::io::{ListKind, Timestamp};
use andon_core::limits::Limits;
use andon_core::offer::Offer;
use andon_types::meta::Implementation;
use fastrand::Rng;

use crate::exchange::Modern;
use crate::session::Client;

/// Steps per client, on average.
const STEPS: usize = 120;

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Legacy clients.
    pub sessions: usize,
    /// Modern requests.
    pub exchanges: usize,
    /// Steps of the world.
    pub steps: usize,
    /// Answers that legacy clients got.
    pub answers: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, exchanges, steps, answers } = self;
        write!(f, "{sessions} sessions, {exchanges} exchanges, {steps} steps, {answers} answers")
    }
}

/// Names the seed and the step of a broken promise.
struct Place {
    seed: u64,
    step: usize,
    who: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "broken at step {} by {} under seed {}: andon-sim --clients COUNT --from {}",
                self.step, self.who, self.seed, self.seed
            );
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Session(usize),
    Exchange(usize),
    Change,
}

/// Runs the world of `seed` with so many legacy clients, and half as many modern requests.
///
/// # Panics
/// When a promise is broken.
pub fn run(seed: u64, clients: usize) -> Summary {
    let mut rng = Rng::with_seed(seed);
    let mut place = Place { seed, step: 0, who: 0 };
    let start = Timestamp(1_000);
    let (mut sessions, mut exchanges) = populate(start, &mut rng, clients);
    let mut agenda = BinaryHeap::new();
    agenda.extend((0..sessions.len()).map(|who| Reverse((start.0 + rng.u64(..1_000), Turn::Session(who)))));
    agenda.extend((0..exchanges.len()).map(|who| Reverse((start.0 + rng.u64(..1_000), Turn::Exchange(who)))));
    agenda.push(Reverse((start.0 + 500, Turn::Change)));
    let mut now = start;
    let steps = clients * STEPS;
    while let (Some(Reverse((at, turn))), true) = (agenda.pop(), place.step < steps) {
        place.step += 1;
        now = now.max(Timestamp(at));
        match turn {
            Turn::Session(who) => {
                place.who = who;
                let (client, vanished) = &mut sessions[who];
                if client.is_over() {
                    continue;
                }
                session_turn(client, vanished, now, &mut rng);
                let next = now.0 + rng.u64(1..2_000);
                // The driver keeps every deadline.
                let due = client.deadline().map_or(next, |deadline| next.min(deadline.0.max(now.0 + 1)));
                agenda.push(Reverse((due, Turn::Session(who))));
            }
            Turn::Exchange(who) => {
                place.who = clients + who;
                let modern = &mut exchanges[who];
                if modern.is_over() {
                    continue;
                }
                exchange_turn(modern, now, &mut rng);
                let next = now.0 + rng.u64(1..2_000);
                let due = modern.deadline().map_or(next, |deadline| next.min(deadline.0.max(now.0 + 1)));
                agenda.push(Reverse((due, Turn::Exchange(who))));
            }
            Turn::Change => {
                let what = ListKind::ALL[rng.usize(..3)];
                let uri = format!("a:{}", rng.u32(1..4));
                for (who, (client, _)) in sessions.iter_mut().enumerate() {
                    place.who = who;
                    if !client.is_over() {
                        client.change(now, &mut rng, what.notification());
                        client.change(now, &mut rng, &uri);
                    }
                }
                for (who, modern) in exchanges.iter_mut().enumerate() {
                    place.who = clients + who;
                    modern.change(now, &mut rng, what, &uri);
                }
                agenda.push(Reverse((now.0 + rng.u64(1..3_000), Turn::Change)));
            }
        }
    }
    settle(now, &mut rng, &mut place, &mut sessions, &mut exchanges);
    let answers = sessions.iter().map(|(client, _)| client.answers).sum();
    Summary { sessions: sessions.len(), exchanges: exchanges.len(), steps: place.step, answers }
}

/// Clients of both eras, with room to spare or hardly any.
fn populate(start: Timestamp, rng: &mut Rng, clients: usize) -> (Vec<(Client, bool)>, Vec<Modern>) {
    let roomy = Limits { replay_events_max: 20, standing_streams_max: 3, calls_max: 8, ..Limits::default() };
    let roomy = Arc::new(Limits { replay_timeout: Duration::from_secs(10), ..roomy });
    let narrow = Limits { replay_events_max: 5, replay_bytes_max: 300, replay_streams_max: 4, ..Limits::clone(&roomy) };
    let narrow = Arc::new(Limits { replay_timeout: Duration::from_secs(300), ..narrow });
    let declared = r#"{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{}}"#;
    let capabilities = serde_json::from_str(declared).expect("fine");
    let offer = Arc::new(Offer::new(&Implementation::new("sim", "1"), None, &capabilities));
    let sessions = (0..clients)
        .map(|number| {
            let tag = u32::try_from(number).unwrap_or(u32::MAX).wrapping_mul(2_654_435_761);
            let limits = if number % 2 == 0 { &roomy } else { &narrow };
            (Client::new(start, rng, tag, limits.clone(), offer.clone()), false)
        })
        .collect();
    let exchanges = (0..clients / 2)
        .map(|number| {
            let id = i64::try_from(number).unwrap_or(0);
            Modern::new(start, rng, id, roomy.clone(), offer.clone())
        })
        .collect();
    (sessions, exchanges)
}

/// Everything comes to its end.
fn settle(now: Timestamp, rng: &mut Rng, place: &mut Place, sessions: &mut [(Client, bool)], exchanges: &mut [Modern]) {
    for (who, (client, vanished)) in sessions.iter_mut().enumerate() {
        place.who = who;
        client.settle(now, rng, *vanished);
    }
    for (who, modern) in exchanges.iter_mut().enumerate() {
        place.who = sessions.len() + who;
        modern.settle(now, rng);
    }
}

fn session_turn(client: &mut Client, vanished: &mut bool, now: Timestamp, rng: &mut Rng) {
    if client.deadline().is_some_and(|deadline| deadline <= now) {
        client.tick(now, rng);
    }
    if rng.u32(..8) == 0 {
        client.sweep(now);
    }
    match rng.u32(..200) {
        0 => client.end(now, rng),
        1 => {
            *vanished = true;
            client.vanish(now, rng);
        }
        2..=90 => drop(client.work(now, rng)),
        _ if !*vanished => client.act(now, rng),
        _ => drop(client.work(now, rng)),
    }
}

fn exchange_turn(modern: &mut Modern, now: Timestamp, rng: &mut Rng) {
    if modern.deadline().is_some_and(|deadline| deadline <= now) {
        modern.tick(now, rng);
    }
    match rng.u32(..50) {
        0 => modern.hang_up(now, rng),
        _ => modern.work(now, rng),
    }
}

#[cfg(test)]
mod tests {
    use super::run;

    #[test]
    fn promises_are_kept_under_many_seeds() {
        for seed in 0..30 {
            let summary = run(seed, 100);
            assert!(summary.answers > 200, "{summary}: hardly anything happened");
        }
    }

    #[test]
    fn a_seed_is_a_world() {
        assert_eq!(run(7, 50), run(7, 50));
        assert_ne!(run(7, 50), run(8, 50));
    }
}
