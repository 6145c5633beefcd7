use std::time::Duration;

use super::Throttle;

#[tokio::test(start_paused = true)]
async fn what_is_too_much_is_counted_and_told_with_the_next() {
    let mut throttle = Throttle::new(2);
    assert_eq!([throttle.pass(), throttle.pass()], [Some(0), Some(0)]);
    assert_eq!([throttle.pass(), throttle.pass(), throttle.pass()], [None; 3]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!([throttle.pass(), throttle.pass(), throttle.pass()], [Some(3), Some(0), None]);
}
