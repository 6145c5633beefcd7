use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Patience;

const LASTS: Duration = Duration::from_millis(80);

#[tokio::test(start_paused = true)]
async fn it_lasts_as_long_as_it_says_for_everybody() {
    let patience = Patience::new(LASTS);
    let begun = Instant::now();
    let late = async {
        tokio::time::advance(Duration::from_millis(35)).await;
        patience.is_over().await;
        begun.elapsed().as_millis()
    };
    let early = async {
        patience.is_over().await;
        begun.elapsed().as_millis()
    };
    let (early, late) = tokio::join!(early, late);
    assert!((80..=101).contains(&early), "{early}");
    assert!((115..=136).contains(&late), "{late}");
}

#[tokio::test(start_paused = true)]
async fn it_ticks_only_while_somebody_waits() {
    let patience = Patience::new(LASTS);
    for _ in 0..3 {
        patience.is_over().await;
        let begun = Instant::now();
        while patience.ticks.is_ticking.load(Ordering::SeqCst) {
            assert!(begun.elapsed() < LASTS, "nobody waits");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }
}
