//! Objects that are put together of texts: what is only passed on is neither parsed nor written again.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::message::Json;
use crate::object;
use crate::params::{Member, Params};

/// An object whose values are texts, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawObject(Vec<(Cow<'static, str>, Json)>);

impl RawObject {
    /// Those of `params` that are among `members`, by their names.
    pub fn some_of(params: &Params, members: &[(&'static str, Member)]) -> Self {
        let found = members.iter().filter_map(|(name, member)| Some((*name, params.member(*member)?)));
        Self(found.map(|(name, value)| (name.into(), Json::part(value))).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The value of `name`, if it is a string.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        object::string(self.get(name)?.as_str())
    }

    /// The value of `name`, if it is a `T`.
    pub fn read<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// Replaces the value of `name`, or adds it at the end.
    pub fn put(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Json>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    /// Takes `name` out.
    pub fn take(&mut self, name: &str) -> Option<Json> {
        let index = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(index).1)
    }

    /// The text of the object.
    pub fn encode(&self) -> String {
        let bytes: usize = self.0.iter().map(|(name, value)| name.len() + value.as_str().len() + 4).sum();
        let mut text = ObjectText::with_capacity(bytes + 2);
        self.0.iter().for_each(|(name, value)| text.push(name, value.as_str()));
        text.end()
    }
}

/// The text of an object, written member by member.
#[derive(Debug)]
pub struct ObjectText(String);

impl ObjectText {
    /// One without members, and room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes);
        text.push('{');
        Self(text)
    }

    /// Adds a member. `value` is JSON, and the name must not be there yet.
    pub fn push(&mut self, name: &str, value: &str) {
        let Self(text) = self;
        if text.len() > 1 {
            text.push(',');
        }
        // What has to be escaped is rare in names.
        if object::is_plain(name) {
            text.push('"');
            text.push_str(name);
            text.push('"');
        } else {
            text.push_str(&Value::from(name).to_string());
        }
        text.push(':');
        text.push_str(value);
    }

    /// Adds members as another one has written them: see [`ObjectText::members`].
    pub fn push_members(&mut self, members: &str) {
        if self.0.len() > 1 && !members.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(members);
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// The members alone.
    pub fn members(mut self) -> String {
        self.0.remove(0);
        self.0
    }

    /// All of it.
    pub fn end(self) -> String {
        let Self(mut text) = self;
        text.push('}');
        text
    }
}

impl From<ObjectText> for Json {
    fn from(object: ObjectText) -> Self {
        Self::part(&object.end())
    }
}

impl From<&Json> for RawObject {
    /// None, if it is no object.
    fn from(object: &Json) -> Self {
        Self(object.members().map(|(name, value)| (name.into_owned().into(), Json::part(value))).collect())
    }
}

impl From<&Params> for RawObject {
    /// None, if they are no object.
    fn from(params: &Params) -> Self {
        Self(
            object::members(params.as_str())
                .map(|(name, value)| (name.into_owned().into(), Json::part(value)))
                .collect(),
        )
    }
}

impl From<Map<String, Value>> for RawObject {
    fn from(object: Map<String, Value>) -> Self {
        Self(object.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl From<RawObject> for Json {
    fn from(members: RawObject) -> Self {
        Self::part(&members.encode())
    }
}

#[cfg(test)]
mod tests;
