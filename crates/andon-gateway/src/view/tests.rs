use std::sync::Arc;

use andon_types::capability::ServerCapabilities;
use andon_types::revision::Revision;
use serde_json::{Value, json};

use super::{Home, PAGE_SIZE, Part, VIEWS_MAX, View, Views};
use crate::catalogue::Catalogue;
use crate::config::{Patterns, Policy, Settings};
use crate::pins::{Pins, Vetted};
use crate::viewer::Viewer;

fn part(server: &str, prefix: &str, settings: Settings, catalogue: Value) -> Part {
    let mut catalogue: Catalogue = serde_json::from_value(catalogue).expect("a catalogue");
    catalogue.capabilities = ServerCapabilities { resources: Some(Default::default()), ..Default::default() };
    Part {
        server: server.into(),
        prefix: prefix.to_owned(),
        settings: Arc::new(settings),
        catalogue: Arc::new(vetted(catalogue)),
        held: None,
        is_one_of_several: true,
    }
}

fn vetted(catalogue: Catalogue) -> Vetted {
    Pins::open(None).expect("there are no files").of("any").vet(Policy::Log, catalogue)
}

fn catalogue(tools: &[&str], resources: &[&str], templates: &[&str]) -> Value {
    let tool = |name: &&str| json!({ "name": name, "inputSchema": { "type": "object" } });
    let resource = |uri: &&str| json!({ "uri": uri, "name": uri });
    let template = |uri: &&str| json!({ "uriTemplate": uri, "name": uri });
    json!({
        "info": null, "instructions": null, "capabilities": {}, "prompts": [],
        "tools": tools.iter().map(tool).collect::<Vec<_>>(),
        "resources": resources.iter().map(resource).collect::<Vec<_>>(),
        "templates": templates.iter().map(template).collect::<Vec<_>>(),
    })
}

fn names(view: &View) -> Vec<String> {
    let (page, _) = view.tools.page(Revision::LATEST, 0);
    let page: Value = serde_json::from_str(&page).expect("JSON");
    page["tools"].as_array().expect("a list").iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn tools_are_renamed_hidden_and_found_again() {
    let settings = Settings {
        tools: Patterns { deny: vec!["drop*".into()], ..Patterns::default() },
        rename: [("read".to_owned(), "look".to_owned())].into(),
        describe: [("read".to_owned(), "Looks.".to_owned())].into(),
        ..Settings::default()
    };
    let mut one = part("a", "a__", settings, catalogue(&["read", "drop_all", "held"], &[], &[]));
    one.held = Some(Arc::new(["held".to_owned()].into()));
    let view = View::new(vec![one, part("b", "b__", Settings::default(), catalogue(&["read"], &[], &[]))], None);
    assert_eq!(names(&view), ["a__look", "b__read"]);
    let shown = view.tools.find("a__look").expect("it is there");
    assert_eq!((&*shown.server, &*shown.own, shown.wire.description.as_deref()), ("a", "read", Some("Looks.")));
    assert!(view.tools.find("a__drop_all").is_none());
}

#[test]
fn a_short_name_belongs_to_the_first_server_that_has_it() {
    let parts = ["a", "b"].map(|name| part(name, "", Settings::default(), catalogue(&["same"], &[], &[])));
    let view = View::new(parts.to_vec(), None);
    assert_eq!(names(&view), ["same"]);
    assert_eq!(&*view.tools.find("same").expect("it is there").server, "a");
    // With what its calls mirror in headers.
    let mut lists = catalogue(&["same"], &[], &[]);
    lists["tools"][0]["inputSchema"] =
        json!({ "type": "object", "properties": { "x": { "type": "string", "x-mcp-header": "X" } } });
    let mirroring = part("b", "", Settings::default(), lists);
    assert!(View::new(vec![mirroring.clone()], None).headers("same").is_some());
    let [first, _] = parts;
    assert!(View::new(vec![first, mirroring], None).headers("same").is_none());
}

#[test]
fn what_two_servers_have_belongs_to_who_had_it_in_a_list() {
    let a = part("a", "", Settings::default(), catalogue(&["same"], &["x:1"], &["doc://{id}"]));
    let b = part("b", "", Settings::default(), catalogue(&["same"], &["x:1"], &["doc://{id}"]));
    let of = |view: &View| {
        let name = |uri: &str| view.home(uri).map_or_else(String::new, |home| home.server.to_string());
        [view.tools.find("same").expect("it is there").server.to_string(), name("x:1"), name("doc://7")]
    };
    let list = |view: &View| drop(view.tools.page(Revision::LATEST, 0));
    let mut views = Views::default();
    let alone = views.put(None, vec![b.clone()]);
    assert_eq!(of(&alone), ["b"; 3]);
    // Nobody was told so: the first of the file has it.
    assert_eq!(of(&views.put(None, vec![a.clone(), b.clone()])), ["a"; 3]);
    let mut views = Views::default();
    list(&views.put(None, vec![b.clone()]));
    // The first of the file comes later.
    let both = views.put(None, vec![a.clone(), b.clone()]);
    assert_eq!(of(&both), ["b"; 3]);
    assert_eq!(both.home("a+x:1"), Some(Home { server: "a".into(), uri: "x:1".to_owned() }));
    // One that comes later sees what all see.
    let later = Viewer::alone(Some("ann"));
    let own = part("c", "", Settings::default(), catalogue(&["own"], &[], &[]));
    assert_eq!(of(&views.put(Some(&later), vec![a.clone(), b.clone(), own])), ["b"; 3]);
    // Who lists it no more has it no more.
    let empty = Part { catalogue: part("b", "", Settings::default(), catalogue(&[], &[], &[])).catalogue, ..b.clone() };
    let without = views.put(None, vec![a.clone(), empty]);
    assert_eq!(of(&without), ["a"; 3]);
    list(&without);
    assert_eq!(of(&views.put(None, vec![a.clone(), b.clone()])), ["a"; 3]);
    // Nobody had it: the first of the file has it.
    assert_eq!(of(&Views::default().put(None, vec![a, b])), ["a"; 3]);
}

#[test]
fn a_name_stays_with_a_tool_that_is_held_back() {
    let of = |server: &str, tools: &[&str]| part(server, "", Settings::default(), catalogue(tools, &[], &[]));
    let a = of("a", &["x"]);
    let mut held = a.clone();
    held.held = Some(Arc::new(["x".to_owned()].into()));
    let (b, mut views) = (of("b", &["x"]), Views::default());
    let changed = |number: usize| Part { catalogue: of("b", &["x", &format!("t{number}")]).catalogue, ..b.clone() };
    assert_eq!(names(&views.put(None, vec![a.clone(), b.clone()])), ["x"]);
    assert!(names(&views.put(None, vec![held.clone(), b.clone()])).is_empty());
    for number in 0..3 {
        let view = views.put(None, vec![held.clone(), changed(number)]);
        assert_eq!(names(&view), [format!("t{number}")]);
        assert!(view.tools.find("x").is_none() && view.holder("x") == Some("a"));
    }
    let view = views.put(None, vec![a, b.clone()]);
    assert_eq!(&*view.tools.find("x").expect("it is approved").server, "a");
    drop(names(&views.put(None, vec![held, b.clone()])));
    let view = views.put(None, vec![of("a", &[]), b]);
    assert_eq!(&*view.tools.find("x").expect("nobody else has it").server, "b");
}

#[test]
fn views_of_many_are_kept_while_they_are_used() {
    let of = |number: usize| part("a", "", Settings::default(), catalogue(&[&format!("t{number}")], &[], &[]));
    let viewer = |number: usize| Viewer { session: Some((0, number as u128)), subject: None };
    let mut views = Views::default();
    let (first, second) = (of(0), of(1));
    let kept = views.put(Some(&viewer(0)), vec![first.clone()]);
    let lost = views.put(Some(&viewer(1)), vec![second.clone()]);
    for number in 2..2 * VIEWS_MAX {
        views.put(Some(&viewer(number)), vec![of(number)]);
        let again = views.put(Some(&viewer(0)), vec![first.clone()]);
        assert!(Arc::ptr_eq(&kept, &again), "{number}");
    }
    assert_eq!(views.kept.len(), VIEWS_MAX);
    assert!(!Arc::ptr_eq(&lost, &views.put(Some(&viewer(1)), vec![second])));
    // Who sees the same shares it.
    let other = views.put(Some(&viewer(2 * VIEWS_MAX)), vec![first]);
    assert!(Arc::ptr_eq(&kept, &other));
    views.forget((0, 0));
    assert!(views.of(Some(&viewer(0))).is_none());
}

#[test]
fn views_that_change_cost_nobody_else_theirs_and_that_of_all_stays() {
    let of = |name: &str| vec![part("a", "", Settings::default(), catalogue(&[name], &[], &[]))];
    let viewer = |number: usize| Viewer { session: Some((0, number as u128)), subject: None };
    let mut views = Views::default();
    views.put(None, of("t"));
    for number in 1..VIEWS_MAX {
        views.put(Some(&viewer(number)), of("t"));
    }
    for turn in 0..4 {
        views.put(Some(&viewer(7)), of(&format!("t{turn}")));
    }
    assert_eq!(views.kept.len(), VIEWS_MAX);
    assert!((1..VIEWS_MAX).all(|number| views.of(Some(&viewer(number))).is_some()));
    views.put(Some(&viewer(VIEWS_MAX)), of("t"));
    assert_eq!(views.kept.len(), VIEWS_MAX);
    assert!(views.of(None).is_some() && views.of(Some(&viewer(1))).is_none());
}

#[test]
fn uris_find_their_server() {
    let parts = vec![
        part("a", "a__", Settings::default(), catalogue(&[], &["x:1", "x:2"], &["doc://{id}"])),
        part("b_", "b__", Settings::default(), catalogue(&[], &["x:1"], &["note://{id}"])),
    ];
    let view = View::new(parts, None);
    let check = |uri: &str, expected: Option<(&str, &str)>| {
        let expected = expected.map(|(server, uri)| Home { server: server.into(), uri: uri.to_owned() });
        assert_eq!(view.home(uri), expected, "{uri}");
    };
    check("x:1", Some(("a", "x:1")));
    check("b-+x:1", Some(("b_", "x:1")));
    check("note://7", Some(("b_", "note://7")));
    check("doc://7", Some(("a", "doc://7")));
    check("other:1", None);
}

#[test]
fn what_a_server_says_of_its_resources_leads_back_to_it() {
    let tools_only = Part {
        catalogue: Arc::new(vetted(serde_json::from_value(catalogue(&["t"], &[], &[])).expect("a catalogue"))),
        ..part("c", "c__", Settings::default(), catalogue(&[], &[], &[]))
    };
    let view = View::new(
        vec![
            part("a", "a__", Settings::default(), catalogue(&[], &["x:1"], &["doc://{id}"])),
            part("b", "b__", Settings::default(), catalogue(&[], &["x:1", "x:2"], &["doc://{id}", "note://{id}"])),
            tools_only,
        ],
        None,
    );
    let check = |server: &str, own: &str, expected: Option<&str>| {
        let other = view.other_name(server, own);
        assert_eq!(other.as_deref(), expected, "{own} of {server}");
        let named = other.unwrap_or_else(|| own.to_owned());
        if let Some(home) = view.home(&named).filter(|_| server != "c") {
            assert_eq!(home, Home { server: server.into(), uri: own.to_owned() });
        }
    };
    check("a", "x:1", None);
    check("b", "x:1", Some("b+x:1"));
    check("a", "x:2", Some("a+x:2"));
    check("b", "x:2", None);
    check("a", "doc://7", None);
    check("b", "doc://7", Some("b+doc://7"));
    check("a", "note://7", Some("a+note://7"));
    // Nobody would be reached by it.
    check("a", "new:1", Some("a+new:1"));
    check("b", "new:1", Some("b+new:1"));
    // A client reaches it by itself.
    check("a", "https://example.com/", None);
    // It has no resources, and speaks of those of others.
    check("c", "x:1", None);
}

#[test]
fn the_only_server_with_resources_is_asked_for_those_that_nobody_lists() {
    let settings = Settings {
        resources: Patterns { deny: vec!["*secret*".into()], ..Patterns::default() },
        ..Settings::default()
    };
    let view = View::new(vec![part("a", "", settings, catalogue(&[], &[], &[]))], None);
    assert!(view.home("any:thing").is_some());
    assert!(view.home("any:secret").is_none());
}

#[test]
fn long_lists_have_pages() {
    let names: Vec<String> = (0..1100).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let view = View::new(vec![part("a", "", Settings::default(), catalogue(&names, &[], &[]))], None);
    let (mut after, mut seen) = (0, 0);
    loop {
        let (page, next) = view.tools.page(Revision::LATEST, after);
        seen += serde_json::from_str::<Value>(&page).expect("JSON")["tools"].as_array().expect("a list").len();
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen, 1100);
    // It is shorter now.
    let view = View::new(vec![part("a", "", Settings::default(), catalogue(&names[..10], &[], &[]))], None);
    assert_eq!(view.tools.page(Revision::LATEST, PAGE_SIZE), (r#"{"tools":[]}"#.into(), None));
    let view = View::new(Vec::new(), None);
    assert_eq!(view.tools.page(Revision::LATEST, 0), (r#"{"tools":[]}"#.into(), None));
}
