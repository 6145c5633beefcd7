//! What is other in a definition, line by line, in the order of the text: for people who decide whether they trust it.

use std::time::{Duration, Instant};

use serde_json::Value;
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

/// How long the shortest difference is looked for; after that, one that is right and longer is taken.
const SEARCH_MAX: Duration = Duration::from_millis(50);
/// Characters that are shown of a line that is cut before the place where it differs.
const CONTEXT_CHARS: usize = 40;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What a log has room for: so many lines of what is gone and as many of what is new, of so many characters each.
    Brief { lines_max: usize, chars_max: usize },
    /// All of it.
    Whole,
}

/// The lines that are gone (`- `) and those that are new (`+ `), without what a terminal would obey or would not show. It
/// takes time in proportion to the texts, and [`SEARCH_MAX`].
pub(crate) fn diff(before: &str, after: &str, extent: Extent) -> String {
    let (before, after) = (pretty(before), pretty(after));
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let deadline = Instant::now() + SEARCH_MAX;
    let mut shown = Shown { extent, gone: 0, new: 0, lines: Vec::new() };
    for hunk in capture_diff_slices_deadline(Algorithm::Myers, &old, &new, Some(deadline)) {
        if let DiffOp::Equal { .. } = hunk {
            continue;
        }
        let (old, new) = (&old[hunk.old_range()], &new[hunk.new_range()]);
        for (index, line) in old.iter().enumerate() {
            shown.remove(line, new.get(index).copied());
        }
        for (index, line) in new.iter().enumerate() {
            shown.insert(line, old.get(index).copied());
        }
    }
    shown.text()
}

struct Shown {
    extent: Extent,
    gone: usize,
    new: usize,
    lines: Vec<String>,
}

impl Shown {
    fn remove(&mut self, line: &str, other: Option<&str>) {
        self.gone += 1;
        self.line('-', self.gone, line, other);
    }

    fn insert(&mut self, line: &str, other: Option<&str>) {
        self.new += 1;
        self.line('+', self.new, line, other);
    }

    /// Each kind has its own bound, so that neither hides the other.
    fn line(&mut self, mark: char, number: usize, line: &str, other: Option<&str>) {
        match self.extent {
            Extent::Whole => self.lines.push(format!("{mark} {}", printable(line))),
            Extent::Brief { lines_max, chars_max } if number <= lines_max => {
                self.lines.push(format!("{mark} {}", cut(line, other, chars_max)));
            }
            Extent::Brief { .. } => {}
        }
    }

    fn text(mut self) -> String {
        if let Extent::Brief { lines_max, .. } = self.extent {
            for (mark, number) in [('-', self.gone), ('+', self.new)] {
                if number > lines_max {
                    self.lines.push(format!("{mark} ... {} more lines", number - lines_max));
                }
            }
        }
        self.lines.join("\n")
    }
}

/// A line of at most so many characters, around the place where it begins to differ from the `other` in its place.
fn cut(line: &str, other: Option<&str>, chars_max: usize) -> String {
    let same = other.map_or(0, |other| line.chars().zip(other.chars()).take_while(|(own, its)| own == its).count());
    let skipped = if line.chars().count() > chars_max { same.saturating_sub(CONTEXT_CHARS) } else { 0 };
    let mut rest = line.chars().skip(skipped);
    let shown: String = rest.by_ref().take(chars_max).collect();
    let (before, after) = (if skipped > 0 { "..." } else { "" }, if rest.next().is_some() { "..." } else { "" });
    format!("{before}{}{after}", printable(&shown))
}

/// One member in a line.
fn pretty(text: &str) -> String {
    let value: Result<Value, _> = serde_json::from_str(text);
    value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| text.to_owned())
}

/// With characters that are not seen, or that a terminal obeys, spelt out.
fn printable(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests;
