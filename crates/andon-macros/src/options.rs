//! The options in the parentheses of the attributes.

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, LitBool, LitInt, LitStr, Result, Token, parenthesized};

/// One option.
pub(crate) struct Item {
    pub(crate) name: Ident,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    /// `name`
    Flag,
    /// `name = "text"`
    Text(LitStr),
    /// `name = 5`
    Number(LitInt),
    /// `name = true`
    Bool(LitBool),
    /// `name(key = expression, ...)`
    Pairs(Vec<(Ident, Expr)>),
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        let value = if input.peek(syn::token::Paren) {
            let inner;
            parenthesized!(inner in input);
            let pairs = Punctuated::<Pair, Token![,]>::parse_terminated(&inner)?;
            Value::Pairs(pairs.into_iter().map(|pair| (pair.0, pair.1)).collect())
        } else if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            value(input)?
        } else {
            Value::Flag
        };
        Ok(Self { name, value })
    }
}

fn value(input: ParseStream<'_>) -> Result<Value> {
    if input.peek(LitStr) {
        input.parse().map(Value::Text)
    } else if input.peek(LitInt) {
        input.parse().map(Value::Number)
    } else if input.peek(LitBool) {
        input.parse().map(Value::Bool)
    } else {
        Err(input.error("expected a text, a number, `true` or `false`"))
    }
}

struct Pair(Ident, Expr);

impl Parse for Pair {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        input.parse::<Token![=]>()?;
        Ok(Self(name, input.parse()?))
    }
}

/// The options of an attribute, each at most once and one of `known`.
pub(crate) struct Options(Vec<Item>);

impl Options {
    pub(crate) fn parse(tokens: TokenStream, known: &[&str]) -> Result<Self> {
        let items = Punctuated::<Item, Token![,]>::parse_terminated.parse2(tokens)?;
        Self::checked(items.into_iter().collect(), known)
    }

    /// The options after a leading text.
    pub(crate) fn parse_after_text(tokens: TokenStream, known: &[&str], what: &str) -> Result<(LitStr, Self)> {
        let parser = |input: ParseStream<'_>| {
            if !input.peek(LitStr) {
                return Err(Error::new(Span::call_site(), what));
            }
            let text: LitStr = input.parse()?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
            Ok((text, Punctuated::<Item, Token![,]>::parse_terminated(input)?))
        };
        let (text, items) = parser.parse2(tokens)?;
        Ok((text, Self::checked(items.into_iter().collect(), known)?))
    }

    fn checked(items: Vec<Item>, known: &[&str]) -> Result<Self> {
        for (index, item) in items.iter().enumerate() {
            if !known.iter().any(|name| item.name == name) {
                let known = known.join("`, `");
                let why = format!("`{}` is no option here; there are `{known}`", item.name);
                return Err(Error::new(item.name.span(), why));
            }
            if items[..index].iter().any(|earlier| earlier.name == item.name) {
                return Err(Error::new(item.name.span(), format!("`{}` stands twice", item.name)));
            }
        }
        Ok(Self(items))
    }

    fn find(&self, name: &str) -> Option<&Item> {
        self.0.iter().find(|item| item.name == name)
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&LitStr>> {
        match self.find(name) {
            None => Ok(None),
            Some(Item { value: Value::Text(text), .. }) => Ok(Some(text)),
            Some(item) => Err(Error::new(item.name.span(), format!("write `{name} = \"...\"`"))),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.find(name) {
            None => Ok(None),
            Some(Item { value: Value::Flag, .. }) => Ok(Some(true)),
            Some(Item { value: Value::Bool(flag), .. }) => Ok(Some(flag.value)),
            Some(item) => Err(Error::new(item.name.span(), format!("write `{name}` or `{name} = false`"))),
        }
    }

    /// An option that stands alone or with a text.
    pub(crate) fn word(&self, name: &str) -> Result<Option<(Span, Option<String>)>> {
        match self.find(name) {
            None => Ok(None),
            Some(Item { value: Value::Flag, name }) => Ok(Some((name.span(), None))),
            Some(Item { value: Value::Text(text), .. }) => Ok(Some((text.span(), Some(text.value())))),
            Some(item) => Err(Error::new(item.name.span(), format!("write `{name}` or `{name} = \"...\"`"))),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<usize>> {
        match self.find(name) {
            None => Ok(None),
            Some(Item { value: Value::Number(number), .. }) => number.base10_parse().map(Some),
            Some(item) => Err(Error::new(item.name.span(), format!("write `{name} = 64`"))),
        }
    }

    pub(crate) fn pairs(&self, name: &str) -> Result<&[(Ident, Expr)]> {
        match self.find(name) {
            None => Ok(&[]),
            Some(Item { value: Value::Pairs(pairs), .. }) => Ok(pairs),
            Some(item) => Err(Error::new(item.name.span(), format!("write `{name}(parameter = ...)`"))),
        }
    }

    /// A duration such as `500ms`, `30s`, `5m` or `1h`, in milliseconds.
    pub(crate) fn duration_ms(&self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let written = text.value();
        let digits = written.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &written[digits.len()..] {
            "ms" => Some(1),
            "s" => Some(1000),
            "m" | "min" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
        match number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit)) {
            Some(ms) => Ok(Some(ms)),
            None => {
                Err(Error::new(text.span(), "a duration is a number and a unit: \"500ms\", \"30s\", \"5m\", \"1h\""))
            }
        }
    }
}
