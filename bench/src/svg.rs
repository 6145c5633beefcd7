//! Plots as SVG: bars in groups, with the spread over the rounds. Each group has a scale of its own, and a bar that is many times as
//! long as the floor's is cut off.

use std::fmt::Write as _;

use crate::figure::Spread;

/// Bars in groups, one group below the other.
pub struct Bars {
    /// What is shown.
    pub title: String,
    /// What is counted, below the title.
    pub unit: String,
    /// The groups.
    pub groups: Vec<Group>,
}

/// Bars that are compared with each other.
pub struct Group {
    /// What they have in common.
    pub name: String,
    /// The bars, as names and values.
    pub bars: Vec<(String, Spread)>,
}

const WIDTH: f64 = 760.0;
const NAMES_WIDTH: f64 = 130.0;
const VALUES_WIDTH: f64 = 110.0;
const BAR_HEIGHT: f64 = 16.0;
const BAR_GAP: f64 = 4.0;
const GROUP_HEIGHT: f64 = 30.0;
const HEAD_HEIGHT: f64 = 52.0;
/// The colour of a name is the same in all plots.
const COLOURS: [(&str, &str); 4] =
    [("floor", "#9aa5b1"), ("axum", "#bcc5ce"), ("andon", "#d1495b"), ("rmcp", "#30638e")];
const OTHERS: &str = "#6f8f72";
/// The floor, where there is one, and so many times its bar there is room for.
const FLOOR: &str = "floor";
const FLOORS_MAX: f64 = 12.0;

impl Bars {
    /// The file.
    pub fn svg(&self) -> String {
        let bars: usize = self.groups.iter().map(|group| group.bars.len()).sum();
        let height =
            HEAD_HEIGHT + self.groups.len() as f64 * GROUP_HEIGHT + bars as f64 * (BAR_HEIGHT + BAR_GAP) + 10.0;
        let mut svg = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut svg, height);
        svg
    }

    fn write(&self, svg: &mut String, height: f64) -> std::fmt::Result {
        writeln!(
            svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">"#
        )?;
        writeln!(svg, r##"<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>"##)?;
        writeln!(svg, r#"<text x="10" y="22" font-size="16">{}</text>"#, escaped(&self.title))?;
        writeln!(svg, r##"<text x="10" y="40" fill="#666666">{}</text>"##, escaped(&self.unit))?;
        let mut y = HEAD_HEIGHT;
        for group in &self.groups {
            writeln!(svg, r#"<text x="10" y="{}" font-weight="bold">{}</text>"#, y + 18.0, escaped(&group.name))?;
            y += GROUP_HEIGHT;
            let largest = group.largest();
            let part = |value: f64| (value / largest).clamp(0.0, 1.0);
            let length = |value: f64| (part(value) * (WIDTH - NAMES_WIDTH - VALUES_WIDTH)).max(0.5);
            for (name, value) in &group.bars {
                let (text_y, middle) = (y + 12.0, y + BAR_HEIGHT / 2.0);
                let (from, to) = (NAMES_WIDTH + length(value.min), NAMES_WIDTH + length(value.max));
                writeln!(
                    svg,
                    r#"<text x="{}" y="{text_y}" text-anchor="end">{}</text>"#,
                    NAMES_WIDTH - 8.0,
                    escaped(name)
                )?;
                let (width, fill) = (length(value.median), colour(name));
                writeln!(
                    svg,
                    r#"<rect x="{NAMES_WIDTH}" y="{y}" width="{width:.1}" height="{BAR_HEIGHT}" fill="{fill}"/>"#
                )?;
                writeln!(svg, r##"<path d="M{from:.1} {middle}H{to:.1}" stroke="#222222" stroke-width="2"/>"##)?;
                let mark = if value.median > largest { "» " } else { "" };
                writeln!(svg, r#"<text x="{:.1}" y="{text_y}">{mark}{}</text>"#, to + 6.0, grouped(value.median, 0))?;
                y += BAR_HEIGHT + BAR_GAP;
            }
        }
        writeln!(svg, "</svg>")
    }
}

impl Group {
    /// What the longest bar stands for.
    fn largest(&self) -> f64 {
        let longest = self.bars.iter().map(|(_, value)| value.max).fold(f64::MIN_POSITIVE, f64::max);
        let floor = self.bars.iter().find(|(name, _)| name == FLOOR).map(|(_, value)| value.median);
        floor.filter(|floor| *floor > 0.0).map_or(longest, |floor| longest.min(floor * FLOORS_MAX))
    }
}

fn colour(name: &str) -> &'static str {
    let known = COLOURS.iter().find(|(known, _)| name.starts_with(known));
    known.map_or(OTHERS, |(_, colour)| colour)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A number as people read it: with so many digits behind the point, and thousands apart.
pub fn grouped(value: f64, decimals: usize) -> String {
    let decimals = if decimals == 0 && value.abs() < 10.0 && value.fract() != 0.0 { 1 } else { decimals };
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if value < 0.0 && text.contains(|digit: char| ('1'..='9').contains(&digit)) { "-" } else { "" };
    format!("{sign}{grouped}{rest}")
}

#[cfg(test)]
mod tests;
