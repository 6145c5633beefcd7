use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use andon_client::Error;
use andon_types::message::Json;
use andon_types::revision::Revision;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{Flight, Held, PARKED_MAX, PARKED_OF_ONE_MAX, Parking};

/// Counts those that are there.
struct There(Arc<AtomicUsize>);

impl Held for There {
    fn waits(&mut self) {}

    fn goes_on(&mut self) {}

    fn arrived(&mut self, _outcome: &Result<Json, Error>) {}
}

impl Drop for There {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn flight(there: &Arc<AtomicUsize>, outcome: BoxFuture<'static, Result<Json, Error>>) -> Flight {
    there.fetch_add(1, Ordering::SeqCst);
    Flight::new(outcome, Arc::default(), Arc::default(), (Revision::LATEST, false), Box::new(There(there.clone())))
}

struct Scene {
    parking: Arc<Parking>,
    there: Arc<AtomicUsize>,
}

impl Scene {
    fn new() -> Self {
        Self { parking: Arc::default(), there: Arc::default() }
    }

    /// Parks `count` flights of `subject`, the oldest first.
    async fn park(&self, subject: &str, count: usize) {
        for number in 0..count {
            let subject = (!subject.is_empty()).then(|| subject.to_owned());
            let id = format!("{}{number}", subject.as_deref().unwrap_or_default());
            self.parking.put(id, subject, flight(&self.there, std::future::pending().boxed()));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }

    fn there(&self) -> usize {
        self.there.load(Ordering::SeqCst)
    }

    fn takes(&self, id: &str, subject: &str) -> bool {
        self.parking.take(id, (!subject.is_empty()).then_some(subject)).is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_come_back_in_time_is_given_up() {
    let scene = Scene::new();
    scene.park("ada", 1).await;
    tokio::time::advance(Duration::from_secs(599)).await;
    scene.parking.sweep();
    assert_eq!((scene.parking.len(), scene.there()), (1, 1));
    tokio::time::advance(Duration::from_secs(1)).await;
    scene.parking.sweep();
    assert_eq!((scene.parking.len(), scene.there()), (0, 0));
    assert!(!scene.takes("ada0", "ada"));
}

#[tokio::test(start_paused = true)]
async fn what_is_parked_is_found_by_its_principal_only() {
    let scene = Scene::new();
    scene.park("ada", 1).await;
    assert!(!scene.takes("ada0", "bob") && !scene.takes("ada0", "") && !scene.takes("ada1", "ada"));
    assert!(scene.takes("ada0", "ada"));
    assert!(!scene.takes("ada0", "ada"), "once");
}

#[tokio::test(start_paused = true)]
async fn one_principal_has_its_share_and_gives_up_its_own_oldest() {
    let scene = Scene::new();
    scene.park("bob", 1).await;
    scene.park("ada", PARKED_OF_ONE_MAX + 2).await;
    assert_eq!((scene.parking.len(), scene.there()), (PARKED_OF_ONE_MAX + 1, PARKED_OF_ONE_MAX + 1));
    assert!(scene.takes("bob0", "bob") && scene.takes("ada2", "ada"));
    assert!(!scene.takes("ada0", "ada") && !scene.takes("ada1", "ada"));
}

#[tokio::test(start_paused = true)]
async fn who_has_most_gives_way_when_it_is_full() {
    let scene = Scene::new();
    scene.park("", PARKED_MAX).await;
    scene.park("bob", 2).await;
    assert_eq!((scene.parking.len(), scene.there()), (PARKED_MAX, PARKED_MAX));
    assert!(scene.takes("bob0", "bob") && scene.takes("bob1", "bob") && scene.takes("2", ""));
    assert!(!scene.takes("0", "") && !scene.takes("1", ""));
}

#[tokio::test(start_paused = true)]
async fn a_parked_flight_that_arrives_holds_nothing_and_its_outcome_is_kept() {
    let scene = Scene::new();
    scene.parking.put("a".to_owned(), None, flight(&scene.there, async { Err(Error::TimedOut) }.boxed()));
    while scene.there() > 0 {
        tokio::task::yield_now().await;
    }
    let mut flight = scene.parking.take("a", None).expect("its client may come yet");
    assert!(matches!((&mut flight.outcome).await, Err(Error::TimedOut)));
}
