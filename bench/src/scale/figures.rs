//! What was measured, beside what is asked for.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::figure::Asked;
use crate::{Error, machine};

#[derive(Debug, Serialize)]
struct Figure {
    what: String,
    measured: f64,
    unit: &'static str,
    asked: Option<Asked>,
    holds: Option<bool>,
}

/// All that one run has measured.
#[derive(Debug, Serialize)]
pub struct Figures {
    program: &'static str,
    machine: String,
    settings: Value,
    figures: Vec<Figure>,
    /// Further numbers, for programs that draw them.
    #[serde(skip_serializing_if = "Value::is_null")]
    series: Value,
}

impl Figures {
    /// None yet, of a run of `program` with `settings`.
    pub fn new(program: &'static str, settings: Value) -> Self {
        Self { program, machine: machine::describe(), settings, figures: Vec::new(), series: Value::Null }
    }

    /// Something that was measured, of which nothing is asked.
    pub fn note(&mut self, what: impl Into<String>, measured: f64, unit: &'static str) {
        self.figures.push(Figure { what: what.into(), measured, unit, asked: None, holds: None });
    }

    /// Something that was measured, and what is asked of it.
    pub fn check(&mut self, what: impl Into<String>, measured: f64, unit: &'static str, asked: Asked) {
        let holds = Some(asked.holds(measured));
        self.figures.push(Figure { what: what.into(), measured, unit, asked: Some(asked), holds });
    }

    /// Further numbers, for programs that draw them.
    pub fn draw(&mut self, series: Value) {
        self.series = series;
    }

    /// Whether all that is asked for holds.
    pub fn hold(&self) -> bool {
        self.figures.iter().all(|figure| figure.holds != Some(false))
    }

    /// A table in Markdown.
    pub fn text(&self) -> String {
        let mut text = format!("`scale {}` on {}\n\n", self.program, self.machine);
        let _ = writeln!(text, "| {:66} | {:>14} | {:20} |", "", "measured", "asked");
        let _ = writeln!(text, "|{:-<68}|{:->16}|{:-<22}|", "", ":", "");
        for figure in &self.figures {
            let asked = figure.asked.map_or_else(String::new, |asked| asked.text(plain));
            let verdict = match figure.holds {
                None => asked,
                Some(true) => format!("{asked}: holds"),
                Some(false) => format!("{asked}: FAILS"),
            };
            let measured = format!("{} {}", plain(figure.measured), figure.unit);
            let _ = writeln!(text, "| {:66} | {:>14} | {verdict:20} |", figure.what, measured.trim());
        }
        text
    }

    /// Prints the table, and writes everything to the file `json` if there is one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn publish(&self, json: Option<&Path>) -> Result<(), Error> {
        println!("{}", self.text());
        if let Some(path) = json {
            std::fs::write(path, serde_json::to_vec_pretty(self)?)?;
        }
        Ok(())
    }
}

/// A number with as many digits as say something.
fn plain(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        large if large >= 100.0 || number.fract() == 0.0 => format!("{number:.0}"),
        middle if middle >= 10.0 => format!("{number:.1}"),
        small if small >= 0.01 => format!("{number:.3}"),
        _ => format!("{number:.2e}"),
    }
}

#[cfg(test)]
mod tests;
