//! What HTTP itself may look like: the H and J rows, on real sockets with default settings.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Duration;

use common::{call, initialize, modern, open, post, raw, request, routed, send, start};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn a3_a4_h4_h6_the_default_settings_refuse_foreign_hosts_and_origins() {
    let server = start().await;
    for verb in ["POST", "GET", "DELETE", "OPTIONS"] {
        assert_eq!(send(server.address, verb, &[("Host", "evil.example")], "{}").await.status, 403, "{verb}");
        let foreign = [("Origin", "http://evil.example")];
        assert_eq!(send(server.address, verb, &foreign, "{}").await.status, 403, "{verb}");
    }
    let own = format!("http://{}", server.address);
    let host = server.address.to_string();
    let response = post(server.address, &[("Host", &host), ("Origin", &own)], &initialize("2025-11-25")).await;
    assert_eq!(response.status, 200);
}

#[tokio::test]
async fn h20_other_verbs_are_405_with_allow() {
    let server = start().await;
    for verb in ["PUT", "PATCH", "TRACE", "BREW", "OPTIONS"] {
        let response = send(server.address, verb, &[], "").await;
        assert_eq!((response.status, response.header("allow")), (405, Some("POST, GET, DELETE")), "{verb}");
    }
    for target in ["localhost:80", "evil.example:443", "/mcp"] {
        let response = raw(server.address, common::request_to(target, "CONNECT", &[], "").as_bytes()).await;
        // A path is nothing that one can be connected to.
        let expected = if target == "/mcp" { [400, 405] } else { [405, 405] };
        assert!(expected.contains(&response.status), "{target}: {}", response.head);
        assert!(response.status == 400 || response.header("allow").is_some());
    }
}

#[tokio::test]
async fn h1_h2_h3_h5_the_host_is_one_and_the_targets() {
    let server = start().await;
    let body = initialize("2025-11-25").to_string();
    let status = |target: &'static str, hosts: &'static str| {
        let text = request("POST", &[("Host", "-")], &body);
        let text = text.replacen("/mcp", target, 1).replacen("\r\n", &format!("\r\n{hosts}"), 1);
        async move { raw(server.address, text.as_bytes()).await.status }
    };
    for (row, target, hosts, expected) in [
        ("H1", "/mcp", "", 400),
        ("H2", "/mcp", "Host: localhost\r\nHost: localhost\r\n", 400),
        ("H2", "/mcp", "Host: localhost\r\nHost: evil.example\r\n", 400),
        ("H3", "/mcp", "Host:\r\n", 400),
        ("H3", "/mcp", "Host: a b/c@d\r\n", 400),
        ("H3", "/mcp", "Host: c@localhost\r\n", 400),
        ("H5", "http://evil.example/mcp", "Host: localhost\r\n", 400),
        ("H5", "http://evil.example/mcp", "Host: evil.example\r\n", 403),
        ("H5", "http://localhost/mcp", "Host: localhost\r\n", 200),
    ] {
        assert_eq!(status(target, hosts).await, expected, "{row}: {target} {hosts:?}");
    }
}

#[tokio::test]
async fn h7_h8_origins_that_are_not_the_servers_own_are_refused_and_none_is_fine() {
    let server = start().await;
    let host = server.address.to_string();
    let port = server.address.port();
    for origin in ["null", "http://localhost@evil", &format!("https://127.0.0.1:{port}"), "http://127.0.0.1:1"] {
        let response = post(server.address, &[("Host", &host), ("Origin", origin)], &initialize("2025-11-25")).await;
        assert_eq!(response.status, 403, "{origin}");
    }
    let own = format!("http://{host}");
    let twice = [("Host", host.as_str()), ("Origin", &own), ("Origin", &own)];
    assert_eq!(post(server.address, &twice, &initialize("2025-11-25")).await.status, 403);
    assert_eq!(post(server.address, &[("Host", &host)], &initialize("2025-11-25")).await.status, 200);
}

#[tokio::test]
async fn h15_headers_that_matter_are_ascii() {
    let server = start().await;
    for name in ["Authorization", "MCP-Protocol-Version", "Mcp-Session-Id", "Mcp-Method", "Mcp-Name", "Mcp-Param-X"] {
        let response = post(server.address, &[(name, "Bearer \u{e9}")], &initialize("2025-11-25")).await;
        assert_eq!(response.status, 400, "{name}");
    }
    assert_eq!(post(server.address, &[("X-Other", "\u{e9}")], &initialize("2025-11-25")).await.status, 200);
}

#[tokio::test]
async fn h16_large_heads_are_431() {
    let server = start().await;
    let many: String = (0..65).map(|n| format!("X-{n}: 1\r\n")).collect();
    let total: String = (0..33).map(|n| format!("X-{n}: {}\r\n", "x".repeat(1 << 10))).collect();
    let long = format!("X: {}\r\n", "x".repeat(64 << 10));
    let endless = format!("X: {}\r\n", "x".repeat(512 << 10));
    for fields in [many, total, long, endless] {
        let text = request("GET", &[], "").replacen("\r\n", &format!("\r\n{fields}"), 1);
        let response = raw(server.address, text.as_bytes()).await;
        assert_eq!(response.status, 431, "{}: {}", &text[..60], response.head);
    }
}

#[tokio::test]
async fn h21_nothing_else_can_be_expected() {
    let server = start().await;
    let unknown = post(server.address, &[("Expect", "200-ok")], &initialize("2025-11-25")).await;
    assert_eq!(unknown.status, 417);
    let mut socket = common::Open::with(
        server.address,
        &request("POST", &[("Expect", "100-continue"), ("Content-Length", "9")], ""),
    )
    .await;
    assert!(socket.until("\r\n\r\n").await.starts_with("HTTP/1.1 100"));
}

#[tokio::test]
async fn h33_what_a_proxy_would_say_is_not_believed() {
    let server = start().await;
    for (name, value) in [("X-Forwarded-Host", "localhost"), ("Forwarded", "host=localhost;proto=https")] {
        let foreign = [("Host", "evil.example"), (name, value)];
        assert_eq!(post(server.address, &foreign, &initialize("2025-11-25")).await.status, 403, "{name}");
    }
    for (name, value) in
        [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "6.6.6.6")]
    {
        assert_eq!(post(server.address, &[(name, value)], &initialize("2025-11-25")).await.status, 200, "{name}");
        let host = server.address.to_string();
        let own = format!("https://{host}");
        let spoofed = [("Host", host.as_str()), ("Origin", &own), (name, value)];
        assert_eq!(post(server.address, &spoofed, &initialize("2025-11-25")).await.status, 403, "{name}");
    }
}

#[tokio::test]
async fn a5_h22_h23_h24_media_types_are_checked() {
    let server = start().await;
    let with = |name: &'static str, value: &'static str| async move {
        post(server.address, &[(name, value)], &initialize("2025-11-25")).await.status
    };
    for (name, value, status) in [
        ("Content-Type", "text/plain", 415),
        ("Content-Type", "application/x-www-form-urlencoded", 415),
        ("Content-Type", "-", 415),
        ("Content-Type", "application/json; charset=utf-16", 415),
        ("Content-Type", "application/json; charset=utf-8", 200),
        ("Content-Encoding", "gzip", 415),
        ("Accept", "application/json", 406),
        ("Accept", "text/event-stream", 406),
        ("Accept", "*/*", 200),
    ] {
        assert_eq!(with(name, value).await, status, "{name}: {value}");
    }
}

#[tokio::test]
async fn h11_h21_j8_large_bodies_are_refused_unread() {
    let server = start().await;
    for length in ["5000000", "9223372036854775807"] {
        let headers = [("Content-Length", length), ("Expect", "100-continue")];
        let response = send(server.address, "POST", &headers, "").await;
        assert_eq!(response.status, 413, "{response:?}");
        assert!(!response.head.contains("100 Continue"));
    }
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = request("POST", &[("Transfer-Encoding", "chunked")], "");
    socket.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let mut answer = Vec::new();
    let (mut read, mut write) = socket.split();
    let endless = async {
        while write.write_all(chunk.as_bytes()).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = endless => {}
        _ = read.read_to_end(&mut answer) => {}
    }
    assert_eq!(common::read(&answer).status, 413);
}

#[tokio::test]
async fn h17_h31_targets_are_exact() {
    let server = start().await;
    for target in ["/mcp/../admin", "//mcp", "/%2e%2e/mcp", "/mcp%00", "/MCP", "/", "/mcp/"] {
        let text = request("POST", &[], "{}").replacen("/mcp", target, 1);
        assert_eq!(raw(server.address, text.as_bytes()).await.status, 404, "{target}");
    }
    let long = request("POST", &[], "{}").replacen("/mcp", &format!("/{}", "x".repeat(9000)), 1);
    assert_eq!(raw(server.address, long.as_bytes()).await.status, 414);
}

#[tokio::test]
async fn h32_versions_are_known_or_refused() {
    let server = start().await;
    for version in ["1999-01-01", "", "garbage"] {
        let response = post(server.address, &[("MCP-Protocol-Version", version)], &call(1, "echo")).await;
        assert_eq!(response.status, 400, "{version:?}");
    }
    let twice = [("MCP-Protocol-Version", "2025-11-25"), ("mcp-protocol-version", "2025-11-25")];
    assert_eq!(post(server.address, &twice, &call(1, "echo")).await.status, 400);
}

#[tokio::test]
async fn h34_health_checks_leave_nothing() {
    let server = start().await;
    for _ in 0..50 {
        assert_eq!(send(server.address, "GET", &[], "").await.status, 400);
    }
    assert_eq!(server.host.session_count(), 0);
    let health = request("GET", &[], "").replacen("/mcp", "/healthz", 1);
    assert_eq!(raw(server.address, health.as_bytes()).await.status, 200);
    let ready = request("GET", &[], "").replacen("/mcp", "/readyz", 1);
    assert_eq!(raw(server.address, ready.as_bytes()).await.status, 200);
    server.host.drain(Duration::from_secs(1)).await;
    assert_eq!(raw(server.address, ready.as_bytes()).await.status, 503);
}

#[tokio::test]
async fn h27_a12_disconnects_at_every_byte_leave_nothing() {
    let server = start().await;
    let text = request("POST", &[], &initialize("2025-11-25").to_string());
    for cut in 0..text.len() {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(&text.as_bytes()[..cut]).await.unwrap();
        socket.shutdown().await.unwrap();
        // The server is done with it, whatever it said.
        drop(socket.read_to_end(&mut Vec::new()).await);
    }
    assert_eq!(server.host.session_count(), 0);
    assert_eq!(post(server.address, &[], &initialize("2025-11-25")).await.status, 200);
}

#[tokio::test]
async fn h27_disconnects_at_any_byte_of_an_answer_leave_no_handler() {
    let server = start().await;
    let mut body = modern("tools/call", json!({"name": "wait", "arguments": {}}));
    body["params"]["_meta"]["progressToken"] = json!(1);
    let text = request("POST", &routed("tools/call", Some("wait")), &body.to_string());
    let mut answer = common::Open::with(server.address, &text).await;
    let length = answer.until("notifications/progress").await.len();
    server.gates.go.notify_one();
    answer.until("waited").await;
    server.gates.dropped.notified().await;
    for cut in (1..length).step_by(7) {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        socket.read_exact(&mut vec![0; cut]).await.unwrap();
        drop(socket);
        let dropped = tokio::time::timeout(Duration::from_secs(10), server.gates.dropped.notified());
        dropped.await.unwrap_or_else(|_| panic!("the handler runs on after {cut} bytes"));
    }
}

#[tokio::test]
async fn j10_j11_bodies_that_are_no_message() {
    let server = start().await;
    for (body, code) in [
        ("null", -32600),
        ("42", -32600),
        ("\"x\"", -32600),
        ("[]", -32600),
        ("{}", -32600),
        ("{}{}", -32700),
        ("{", -32700),
        (" ", -32700),
    ] {
        let response = send(server.address, "POST", &[], body).await;
        assert_eq!((response.status, response.code()), (400, code), "{body}");
        assert!(response.json().get("id").is_none(), "an id that could not be read is left out");
    }
    assert_eq!(send(server.address, "POST", &[("Content-Length", "0")], "").await.status, 400);
}

#[tokio::test]
async fn j5_numbers_pass_through_byte_for_byte() {
    let server = start().await;
    let session = open(server.address, "2025-11-25", &[]).await;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"9007199254740993"}}}"#;
    let response = send(server.address, "POST", &[("Mcp-Session-Id", &session)], body).await;
    assert!(response.body.contains("9007199254740993"), "{response:?}");
}

#[tokio::test]
async fn r22_a_panic_hurts_its_caller_only() {
    let server = start().await;
    let panicked = post(
        server.address,
        &routed("tools/call", Some("panic")),
        &modern("tools/call", json!({"name": "panic", "arguments": {}})),
    )
    .await;
    assert!(!panicked.body.contains("secret"), "{panicked:?}");
    assert!(panicked.body.contains("internal") || panicked.body.contains("isError"), "{panicked:?}");
    let echoed = post(
        server.address,
        &routed("tools/call", Some("echo")),
        &modern("tools/call", json!({"name": "echo", "arguments": {"message": 1}})),
    )
    .await;
    assert_eq!(echoed.status, 200);
}
