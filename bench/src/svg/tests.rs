use super::{Bars, Group, grouped};
use crate::figure::Spread;

#[test]
fn numbers_are_read_by_people() {
    let said = [(1_234_567.8, 0), (-999.4, 0), (1_000.0, 2), (0.123, 2), (0.0, 0), (-0.01, 1), (7.25, 0)];
    let said = said.map(|(value, decimals)| grouped(value, decimals));
    assert_eq!(said, ["1,234,568", "-999", "1,000.00", "0.12", "0", "0.0", "7.2"]);
}

#[test]
fn a_plot_is_well_formed() {
    let bar = |name: &str, median: f64| (name.to_owned(), Spread { median, min: median * 0.9, max: median * 1.1 });
    let bars = Bars {
        title: "a < b & c".to_owned(),
        unit: "per s".to_owned(),
        groups: vec![
            Group { name: "one".to_owned(), bars: vec![bar("floor", 10.0), bar("andon", 8.0), bar("slow", 9e6)] },
            Group { name: "two".to_owned(), bars: vec![bar("negative", -3.0), bar("none", 0.0)] },
        ],
    };
    let svg = bars.svg();
    assert_eq!(svg.matches("<rect").count(), 6);
    assert!(
        svg.contains(r##"width="43.3" height="16" fill="#9aa5b1""##),
        "the floor's bar is a twelfth of the room: {svg}"
    );
    assert!(svg.contains(r##"width="520.0" height="16" fill="#6f8f72""##) && svg.contains("» 9,000,000"), "{svg}");
    assert!(svg.contains("a &lt; b &amp; c") && !svg.contains("NaN") && !svg.contains("width=\"-"), "{svg}");
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("every tag is closed");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (false, false) => open.push(name),
            (false, true) => {}
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty());
}
