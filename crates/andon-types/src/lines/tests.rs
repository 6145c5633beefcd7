use proptest::prelude::{any, prop, prop_assert_eq, proptest};

use super::{Beginning, Line, LineBuffer, beginning};

/// All lines of `input`, which comes in pieces of `size` bytes.
fn lines(input: &[u8], size: usize, bytes_max: usize) -> Vec<(bool, Vec<u8>)> {
    let (mut buffer, mut found) = (LineBuffer::new(bytes_max), Vec::new());
    let mut take = |bytes: &[u8]| {
        let (used, line) = buffer.take(bytes);
        found.extend(line.map(|line| match line {
            Line::Whole(line) => (true, line.to_vec()),
            Line::TooLong(line) => (false, line.to_vec()),
        }));
        used
    };
    for mut piece in input.chunks(size) {
        while !piece.is_empty() {
            piece = &piece[take(piece)..];
        }
    }
    take(b"");
    found
}

#[test]
fn lines_are_found_whatever_the_pieces_are() {
    for size in 1..20 {
        let found = lines(b"one\r\n\n  two \nthree", size, 100);
        assert_eq!(found, [(true, b"one".to_vec()), (true, b"two".to_vec()), (true, b"three".to_vec())], "{size}");
    }
}

#[test]
fn of_a_line_that_is_too_long_its_beginning_is_kept() {
    let long = [b"12345678".to_vec(), vec![b'x'; 1000]].concat();
    let input = [long.clone(), b"\nshort\n".to_vec(), long.clone()].concat();
    for size in [1, 7, 300, 5000] {
        let found = lines(&input, size, 100);
        assert_eq!(found.len(), 3, "{size}");
        assert_eq!(found[1], (true, b"short".to_vec()));
        for (is_whole, kept) in [&found[0], &found[2]] {
            assert!(!is_whole && kept.starts_with(b"12345678") && kept.len() <= 256 && long.starts_with(kept));
        }
    }
    assert_eq!(lines(&[b'x'; 100], 3, 100), [(true, vec![b'x'; 100])], "the bound is good");
}

#[test]
fn the_beginning_tells_what_a_message_was_going_to_be() {
    for (text, expected) in [
        (r#"{"jsonrpc":"2.0","id":7,"result":{"#, Beginning::Answer(7)),
        (r#" { "id" : -12 , "result":""#, Beginning::Answer(-12)),
        (r#"{"jsonrpc":"2.0","id":"7","result":{"#, Beginning::Unknown),
        (r#"{"jsonrpc":"2.0","id":7"#, Beginning::Unknown),
        (r#"{"jsonrpc":"2.0","id":99999999999999999999,"#, Beginning::Unknown),
        (r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"#, Beginning::Unasked),
        (r#"{"method":"x","id":7,"#, Beginning::Unasked),
        (r#"{"jsonrpc":"2.0","result":{"id":7,"#, Beginning::Unknown),
        (r#"{"i\u0064":7,"#, Beginning::Unknown),
        (r#"[{"id":7,"#, Beginning::Unknown),
        ("Listening on port 80", Beginning::Unknown),
        ("{", Beginning::Unknown),
        ("", Beginning::Unknown),
    ] {
        assert_eq!(beginning(text.as_bytes()), expected, "{text}");
    }
    assert_eq!(beginning(b"{\"id\":7,\"result\":\"\xff\xff"), Beginning::Answer(7));
}

proptest! {
    #[test]
    fn any_bytes_make_the_same_lines_in_any_pieces(input in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..50) {
        prop_assert_eq!(lines(&input, size, 20), lines(&input, 1000, 20));
        beginning(&input);
    }
}
