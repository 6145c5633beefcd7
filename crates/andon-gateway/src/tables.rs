//! TOML, read into the same values as JSON, so that what is said about a file is the same for both.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::jsonc::{DEPTH_MAX, Kind, Member, Node, Position};

/// Reads the table that `text` is.
///
/// # Errors
/// Where it is no TOML, and why.
pub(crate) fn parse(text: &str) -> Result<Node, (Position, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let table = DeTable::parse(text).map_err(|error| {
        let begin = error.span().map_or(0, |span| span.start);
        (Position::of(text, begin), error.message().to_owned())
    })?;
    let kind = Reader { text }.table(table.get_ref(), 0)?;
    Ok(Node { at: Position::of(text, 0), kind })
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn at<T>(&self, spanned: &Spanned<T>) -> Position {
        Position::of(self.text, spanned.span().start)
    }

    fn table(&self, table: &DeTable<'_>, depth: usize) -> Result<Kind, (Position, String)> {
        let member = |(name, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
            let value = self.value(value, depth + 1)?;
            Ok(Member { at: self.at(name), name: name.get_ref().clone().into_owned(), value })
        };
        table.iter().map(member).collect::<Result<_, _>>().map(Kind::Object)
    }

    fn value(&self, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, (Position, String)> {
        let at = self.at(value);
        if depth > DEPTH_MAX {
            return Err((at, format!("more than {DEPTH_MAX} values are nested")));
        }
        let kind = match value.get_ref() {
            DeValue::String(text) => Kind::Text(text.clone().into_owned()),
            DeValue::Boolean(flag) => Kind::Bool(*flag),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Kind::Number(number.to_string()),
                Err(_) => return Err((at, "this number is too large".to_owned())),
            },
            DeValue::Float(number) => Kind::Number(number.as_str().to_owned()),
            DeValue::Datetime(_) => return Err((at, "no setting is a date or time".to_owned())),
            DeValue::Array(values) => {
                Kind::List(values.iter().map(|value| self.value(value, depth + 1)).collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => self.table(table, depth)?,
        };
        Ok(Node { at, kind })
    }
}

#[cfg(test)]
mod tests;
