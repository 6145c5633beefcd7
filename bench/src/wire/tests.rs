use super::{Era, Numbered, call_body, check, request};

#[test]
fn a_number_moves_on_in_id_and_message() {
    for era in [Era::Legacy, Era::Modern] {
        let mut numbered = Numbered::new(request("127.0.0.1:1", era, None, call_body(era)));
        let (bytes, number) = numbered.advance();
        let text = std::str::from_utf8(bytes).unwrap();
        assert_eq!(number, 100_000_001);
        assert_eq!(text.matches("100000001").count(), 2, "{text}");
    }
}

#[test]
fn answers_are_for_the_call_that_was_sent() {
    let answer = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"message number 7"}]}}"#;
    assert_eq!(check(answer.as_bytes(), false, 7), Ok(()));
    assert!(check(answer.as_bytes(), false, 8).is_err());
    let events = format!("id: 0\nretry: 3000\ndata: \n\nid: 1\ndata: {answer}\n\n");
    assert_eq!(check(events.as_bytes(), true, 7), Ok(()));
    let refusal = br#"{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"message number 7"}}"#;
    assert!(check(refusal, false, 7).is_err());
}
