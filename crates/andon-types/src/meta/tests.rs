use super::{Icon, Level, ProgressToken};

fn icon(src: &str) -> Icon {
    Icon { src: src.into(), mime_type: None, sizes: Vec::new(), theme: None }
}

#[test]
fn icons_are_at_https_or_are_images_inside() {
    for good in [
        "https://example.com/i.png",
        "data:image/png;base64,iVBORw0KGgo=",
        "data:image/jpeg;base64,/9j/4AAQSkZJRg==",
        "data:image/webp;base64,UklGRhIAAABXRUJQVlA4",
        "data:image/svg+xml;base64,PHN2Zz48L3N2Zz4=",
        "data:image/svg+xml,%3Csvg/%3E",
        "data:image/svg+xml;utf8,<svg/>",
    ] {
        assert_eq!(icon(good).problem(), None, "{good}");
    }
    for bad in [
        "",
        "http://example.com/i.png",
        "https://",
        "https:///i.png",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/html,<script>",
        "data:image/png",
        "data:image/pngx;base64,iVBORw0KGgo=",
        "https://example.com/a b",
        "https://example.com/\u{0}",
        // Bytes that are not of the type.
        "data:image/png;base64,PHNjcmlwdD4=",
        "data:image/png,iVBORw0KGgo=",
        "data:image/jpeg;base64,iVBORw0KGgo=",
        "data:image/webp;base64,UklGRg==",
        "data:image/svg+xml;base64,iVBORw0KGgo=",
        "data:image/png;base64,",
        "data:image/png;base64,\u{fc}\u{fc}",
    ] {
        assert!(icon(bad).problem().is_some(), "{bad}");
    }
    let large = format!("data:image/png;base64,iVBORw0KGgo{}", "A".repeat(Icon::DATA_BYTES_MAX));
    assert!(icon(&large).problem().is_some());
}

#[test]
fn icons_say_sizes_and_themes_that_there_are() {
    let good = icon("https://example.com/i");
    let problem = |change: fn(&mut Icon)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed.problem()
    };
    assert_eq!(problem(|icon| icon.sizes = vec!["48x48".into(), "any".into()]), None);
    assert_eq!(problem(|icon| icon.theme = Some("dark".into())), None);
    assert!(problem(|icon| icon.sizes = vec!["48".into()]).is_some());
    assert!(problem(|icon| icon.sizes = vec!["x".into()]).is_some());
    assert!(problem(|icon| icon.theme = Some("blue".into())).is_some());
    assert!(problem(|icon| icon.mime_type = Some("text/html".into())).is_some());
}

#[test]
fn levels_are_ordered_and_named() {
    let names = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
    let levels = names.map(|name| serde_json::from_value::<Level>(name.into()).expect("a level"));
    assert!(levels.is_sorted());
    for bad in ["Debug", "trace", ""] {
        assert!(serde_json::from_value::<Level>(bad.into()).is_err(), "{bad}");
    }
}

#[test]
fn progress_tokens_keep_their_type() {
    for text in ["1", "0", "-7", "\"1\"", "\"\""] {
        let token: ProgressToken = serde_json::from_str(text).expect("a token");
        assert_eq!(serde_json::to_string(&token).expect("JSON"), text);
    }
    for bad in ["null", "1.5", "true", "{}", "[1]", "1e400"] {
        assert!(serde_json::from_str::<ProgressToken>(bad).is_err(), "{bad}");
    }
}
