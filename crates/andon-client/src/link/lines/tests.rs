use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::{Desk, QUEUE_MAX, TURN_LINES_MAX, read_lines};

fn line(number: usize) -> String {
    format!("{{\"number\":{number}}}\n")
}

#[tokio::test]
async fn lines_that_are_taken_at_once_need_no_task() {
    let (ours, theirs) = tokio::io::duplex(1 << 10);
    let desk = Desk::new(Box::new(ours));
    desk.put(line(1)).unwrap();
    let mut heard = String::new();
    BufReader::new(theirs).read_line(&mut heard).await.unwrap();
    assert_eq!(heard, line(1));
}

#[tokio::test]
async fn what_is_not_taken_at_once_arrives_in_order_and_whole() {
    let (ours, theirs) = tokio::io::duplex(7);
    let desk = Desk::new(Box::new(ours));
    (0..100).for_each(|number| desk.put(line(number)).unwrap());
    let writer = tokio::spawn(desk.clone().write());
    let mut lines = BufReader::new(theirs).lines();
    for number in 0..100 {
        assert_eq!(lines.next_line().await.unwrap().unwrap() + "\n", line(number));
    }
    desk.put(line(100)).unwrap();
    desk.close();
    assert!(desk.put(line(101)).is_err());
    assert_eq!(lines.next_line().await.unwrap().unwrap() + "\n", line(100));
    assert_eq!(lines.next_line().await.unwrap(), None);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_peer_that_reads_nothing_fills_the_queue_and_no_more() {
    let (ours, mut theirs) = tokio::io::duplex(1);
    let desk = Desk::new(Box::new(ours));
    (0..QUEUE_MAX).for_each(|number| desk.put(line(number)).unwrap());
    assert!(desk.put(line(0)).is_err());
    assert_eq!(theirs.read_u8().await.unwrap(), b'{');
}

#[tokio::test]
async fn a_peer_that_is_gone_is_noticed() {
    let (ours, theirs) = tokio::io::duplex(1 << 10);
    let desk = Desk::new(Box::new(ours));
    drop(theirs);
    // The first one finds it out.
    drop(desk.put(line(1)));
    assert!(desk.put(line(2)).is_err());
}

#[tokio::test]
async fn a_flood_leaves_room_for_others() {
    let text = "x\n".repeat(10 * TURN_LINES_MAX);
    let taken = Arc::new(Mutex::new(0));
    let flood = {
        let taken = taken.clone();
        tokio::spawn(async move { read_lines(text.as_bytes(), 100, |_| *taken.lock().unwrap() += 1).await })
    };
    tokio::task::yield_now().await;
    assert_eq!(*taken.lock().unwrap(), TURN_LINES_MAX);
    flood.await.unwrap().unwrap();
    assert_eq!(*taken.lock().unwrap(), 10 * TURN_LINES_MAX);
}
