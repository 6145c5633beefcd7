use andon_types::method::Method;

use super::Cursors;
use crate::principal::Principal;
use crate::seal::Seal;

fn verified(subject: &str) -> Principal {
    Principal::verified(subject, [])
}

#[test]
fn x13_pag1_a_cursor_is_good_for_its_list_and_principal_only() {
    let cursors = Cursors::new(Seal::new(&[[1; 32]]));
    let alice = verified("alice");
    let cursor = cursors.seal(Method::ToolsList, &alice, 7);
    assert_eq!(cursors.open(Method::ToolsList, &alice, &cursor).ok(), Some(7));
    for (method, principal) in [
        (Method::PromptsList, &alice),
        (Method::ResourcesList, &alice),
        (Method::ToolsList, &verified("bob")),
        (Method::ToolsList, &verified("")),
        (Method::ToolsList, &Principal::anonymous()),
    ] {
        let error = cursors.open(method, principal, &cursor).expect_err("of another list or principal");
        assert_eq!(error.code, -32602);
    }
    let anonymous = cursors.seal(Method::ToolsList, &Principal::anonymous(), 7);
    assert!(cursors.open(Method::ToolsList, &verified(""), &anonymous).is_err());
}

#[test]
fn x13_garbage_and_forged_cursors_are_refused() {
    let cursors = Cursors::new(Seal::new(&[[1; 32]]));
    let nobody = Principal::anonymous();
    let forged = Cursors::new(Seal::new(&[[2; 32]])).seal(Method::ToolsList, &nobody, 7);
    let state = Seal::new(&[[1; 32]]).seal("state", &[], u64::MAX, &7_u64.to_be_bytes());
    for cursor in ["", "0", "7", "eyJvZmZzZXQiOjB9", "../..", "\u{0}", &forged, &state, &"A".repeat(100_000)] {
        let error = cursors.open(Method::ToolsList, &nobody, cursor).expect_err("no cursor of ours");
        assert_eq!(error.code, -32602);
        assert!(error.message.len() < 200, "it is not echoed");
    }
}
