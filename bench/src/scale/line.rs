//! Lines over time as SVG.

use std::fmt::Write as _;

use crate::svg::grouped;

/// Values that were measured once a second.
pub struct Line {
    /// What is measured, and its unit.
    pub name: &'static str,
    /// The values.
    pub values: Vec<f64>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 150.0;
const PLOT_X: f64 = 70.0;
const PLOT_WIDTH: f64 = WIDTH - PLOT_X - 20.0;
const PLOT_HEIGHT: f64 = 90.0;

impl Line {
    /// The file: one plot below the other, each from 0 to its largest value, over a time in `unit`.
    pub fn svg(lines: &[Self], unit: &str) -> String {
        let mut svg = String::new();
        // Writing to a string cannot fail.
        let _ = write(&mut svg, lines, unit);
        svg
    }
}

fn write(svg: &mut String, lines: &[Line], unit: &str) -> std::fmt::Result {
    let height = HEIGHT * lines.len() as f64;
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">"#
    )?;
    writeln!(svg, r##"<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>"##)?;
    for (number, line) in lines.iter().enumerate() {
        let (top, count) = (HEIGHT * number as f64 + 30.0, line.values.len());
        let (bottom, end) = (top + PLOT_HEIGHT, PLOT_X + PLOT_WIDTH);
        let largest = line.values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        writeln!(svg, r#"<text x="10" y="{}" font-size="14">{}</text>"#, top - 10.0, line.name)?;
        writeln!(svg, r##"<path d="M{PLOT_X} {top}V{bottom}H{end}" stroke="#999999" fill="none"/>"##)?;
        writeln!(
            svg,
            r#"<text x="{}" y="{}" text-anchor="end">{}</text>"#,
            PLOT_X - 6.0,
            top + 8.0,
            grouped(largest, 0)
        )?;
        writeln!(svg, r#"<text x="{}" y="{bottom}" text-anchor="end">0</text>"#, PLOT_X - 6.0)?;
        writeln!(svg, r#"<text x="{end}" y="{}" text-anchor="end">{count} {unit}</text>"#, bottom + 14.0)?;
        let step = PLOT_WIDTH / (count.max(2) - 1) as f64;
        let mut path = String::new();
        for (at, value) in line.values.iter().enumerate() {
            let verb = if at == 0 { 'M' } else { 'L' };
            write!(path, "{verb}{:.1} {:.1}", PLOT_X + at as f64 * step, bottom - value / largest * PLOT_HEIGHT)?;
        }
        writeln!(svg, r##"<path d="{path}" stroke="#d1495b" stroke-width="1.5" fill="none"/>"##)?;
    }
    writeln!(svg, "</svg>")
}
