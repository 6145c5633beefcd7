use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;

use tokio::net::TcpListener;

use super::{NEXT_PORT, connect};

#[tokio::test]
async fn a_port_that_somebody_has_is_passed_over() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let first = connect(address, Ipv4Addr::LOCALHOST, None).await.unwrap();
    let next = NEXT_PORT.load(Ordering::Relaxed);
    let _taken = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, next))).await.unwrap();
    let second = connect(address, Ipv4Addr::LOCALHOST, None).await.unwrap();
    let ports = [&first, &second].map(|stream| stream.local_addr().unwrap().port());
    assert!(ports[0] < next && ports[1] > next, "{ports:?}, {next} is taken");
}
