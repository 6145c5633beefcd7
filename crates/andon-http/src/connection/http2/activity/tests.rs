use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Activity, Turn};
use crate::body::ResponseBody;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_connection_rests_when_nothing_happens() {
    let began_at = Instant::now();
    Activity::default().rest(LIMIT).await;
    assert!((LIMIT..=LIMIT * 5 / 4 + Duration::from_secs(1)).contains(&began_at.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_the_server_is_no_rest() {
    let activity = Arc::new(Activity::default());
    let turn = Turn::begin(activity.clone());
    assert!(timeout(LIMIT * 100, activity.rest(LIMIT)).await.is_err());
    drop(turn);
    activity.rest(LIMIT).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_is_rest() {
    let activity = Arc::new(Activity::default());
    let _body = Turn::begin(activity.clone()).answer(ResponseBody::text("x"));
    activity.rest(LIMIT).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_no_rest_and_signs_of_life_are_no_progress() {
    let activity = Arc::new(Activity::default());
    let written = |bytes: usize| {
        let activity = activity.clone();
        async move {
            loop {
                activity.wrote(bytes);
                sleep(Duration::from_secs(20)).await;
            }
        }
    };
    tokio::select! {
        () = activity.rest(LIMIT) => panic!("it was reading"),
        () = written(1000) => {}
        () = sleep(LIMIT * 20) => {}
    }
    tokio::select! {
        () = activity.rest(LIMIT) => {}
        () = written(17) => {}
    }
}
