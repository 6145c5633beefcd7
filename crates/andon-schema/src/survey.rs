//! The subschemas of a schema, what each is applied to, and where references lead.
//!
//! A reference stays inside the schema: `#`, a JSON Pointer, an anchor, or the `$id` of a definition that is bundled
//! under the root's `$defs` (2020-12 core, section 9.3.1). To be sure that it leads where the validator goes, a
//! reference that two readers could follow to two places is refused.

use std::collections::HashMap;

use andon_types::error::clip;
use andon_types::uri::Uri;
use jsonschema::Draft;
use serde_json::{Map, Value};

use super::dialect_of;

/// How deep subschemas may nest.
const DEPTH_MAX: usize = 32;
const SUBSCHEMAS_MAX: usize = 5_000;
const REFERENCES_MAX: usize = 512;
/// Each of them looks through all that stand beside it.
const UNEVALUATED_MAX: usize = 64;

/// A subschema, with the indices of others in the order of [`survey`].
pub(super) struct Subschema<'a> {
    pub(super) schema: &'a Value,
    resource: usize,
    /// Applied to the same value. Of several alternatives it is one, which only the value decides.
    pub(super) here: Vec<Vec<usize>>,
    /// At most one of them is applied to a member.
    pub(super) member: Vec<usize>,
    /// All of them may be applied to one member.
    pub(super) members: Vec<usize>,
    /// Applied to the names of members.
    pub(super) names: Vec<usize>,
    /// At most one of them is applied to an item.
    pub(super) item: Vec<usize>,
    /// All of them may be applied to one item.
    pub(super) items: Vec<usize>,
}

/// All subschemas of `root`, which comes first.
///
/// # Errors
/// When there are too many, when they nest too deep, or when a reference leads outside or nowhere; in words.
pub(super) fn survey(root: &Value, draft: Draft) -> Result<Vec<Subschema<'_>>, String> {
    let mut survey = Survey { draft, has_exact_ids: true, ..Survey::default() };
    survey.resource(root)?;
    survey.walk(root, 0, 0)?;
    if survey.unevaluated > UNEVALUATED_MAX {
        return Err(format!("a schema has at most {UNEVALUATED_MAX} of unevaluatedProperties and unevaluatedItems"));
    }
    survey.link()?;
    Ok(survey.found)
}

/// What the subschemas of a keyword are applied to.
#[derive(Clone, Copy, PartialEq)]
enum Target {
    Here,
    Member,
    Members,
    Names,
    Item,
    Items,
    /// Nothing, until a reference leads there.
    Nothing,
}

/// The subschemas below a keyword. Keywords of all drafts: one that a draft does not know makes a schema dearer here
/// than it is.
fn below<'a>(keyword: &str, value: &'a Value) -> Option<(Target, Vec<&'a Value>)> {
    let one = || vec![value];
    let list = || value.as_array().into_iter().flatten().collect();
    let named = || value.as_object().into_iter().flat_map(Map::values).filter(|value| !value.is_array()).collect();
    Some(match keyword {
        "allOf" | "anyOf" | "oneOf" => (Target::Here, list()),
        "not" | "if" | "then" | "else" => (Target::Here, one()),
        "dependentSchemas" | "dependencies" => (Target::Here, named()),
        "properties" => (Target::Member, named()),
        "additionalProperties" => (Target::Member, one()),
        "patternProperties" => (Target::Members, named()),
        "unevaluatedProperties" => (Target::Members, one()),
        "propertyNames" => (Target::Names, one()),
        "items" if value.is_array() => (Target::Item, list()),
        "prefixItems" => (Target::Item, list()),
        "items" | "additionalItems" => (Target::Item, one()),
        "contains" | "unevaluatedItems" => (Target::Items, one()),
        "$defs" | "definitions" => (Target::Nothing, named()),
        "contentSchema" => (Target::Nothing, one()),
        _ => return None,
    })
}

#[derive(Default)]
struct Survey<'a> {
    draft: Draft,
    found: Vec<Subschema<'a>>,
    places: HashMap<*const Value, usize>,
    /// The root, and the definitions with an `$id`.
    resources: Vec<&'a Value>,
    ids: HashMap<&'a str, usize>,
    has_exact_ids: bool,
    anchors: HashMap<(usize, &'a str), usize>,
    dynamic_anchors: HashMap<&'a str, Vec<usize>>,
    unevaluated: usize,
}

impl<'a> Survey<'a> {
    /// Begins a resource: what `#` leads to from everywhere inside.
    fn resource(&mut self, schema: &'a Value) -> Result<usize, String> {
        let resource = self.resources.len();
        self.resources.push(schema);
        if let Some(id) = schema.get("$id").and_then(Value::as_str) {
            if !is_exact(id) {
                self.has_exact_ids = false;
            } else if self.ids.insert(id, resource).is_some() {
                return Err(format!("the $id {:?} stands twice", clip(id)));
            }
        }
        if resource > 0 && !self.has_exact_ids {
            return Err(
                "where definitions have an $id, each $id is a whole, canonical URI without a fragment".to_owned()
            );
        }
        Ok(resource)
    }

    fn walk(&mut self, schema: &'a Value, resource: usize, depth: usize) -> Result<usize, String> {
        if depth > DEPTH_MAX {
            return Err(format!("a schema nests at most {DEPTH_MAX} levels of subschemas"));
        }
        let index = self.found.len();
        if index >= SUBSCHEMAS_MAX {
            return Err(format!("a schema has at most {SUBSCHEMAS_MAX} subschemas"));
        }
        self.places.insert(schema, index);
        let (here, [member, members, names, item, items]) = (Vec::new(), Default::default());
        self.found.push(Subschema { schema, resource, here, member, members, names, item, items });
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            self.name(index, keyword, value, depth)?;
            let Some((target, subschemas)) = below(keyword, value) else { continue };
            self.unevaluated += usize::from(keyword.starts_with("unevaluated"));
            for subschema in subschemas {
                let is_bundled = depth == 0 && target == Target::Nothing && self.is_resource(subschema);
                let resource = if is_bundled { self.resource(subschema)? } else { resource };
                if !is_bundled && self.is_resource(subschema) {
                    return Err("$id stands at the root of a schema and on its $defs only".to_owned());
                }
                let subschema = self.walk(subschema, resource, depth + 1)?;
                let from = &mut self.found[index];
                match target {
                    Target::Here => from.here.push(vec![subschema]),
                    Target::Member => from.member.push(subschema),
                    Target::Members => from.members.push(subschema),
                    Target::Names => from.names.push(subschema),
                    Target::Item => from.item.push(subschema),
                    Target::Items => from.items.push(subschema),
                    Target::Nothing => {}
                }
            }
        }
        Ok(index)
    }

    /// Whether a subschema has a base URI of its own. Before 2019-09 an `$id` could also be an anchor, and was ignored
    /// beside `$ref`: there it is always in the wrong place.
    fn is_resource(&self, subschema: &Value) -> bool {
        let keyword = if self.draft == Draft::Draft4 { "id" } else { "$id" };
        subschema.get(keyword).is_some_and(Value::is_string)
    }

    fn name(&mut self, index: usize, keyword: &str, value: &'a Value, depth: usize) -> Result<(), String> {
        let Some(name) = value.as_str() else { return Ok(()) };
        match keyword {
            "$anchor" | "$dynamicAnchor" => {
                let known = self.anchors.insert((self.found[index].resource, name), index);
                if known.is_some_and(|known| known != index) {
                    return Err(format!("the anchor {:?} stands twice", clip(name)));
                }
                if keyword == "$dynamicAnchor" {
                    self.dynamic_anchors.entry(name).or_default().push(index);
                }
            }
            "$schema" if depth > 0 && dialect_of(name) != Some(self.draft) => {
                return Err("all subschemas are of one dialect".to_owned());
            }
            "$id" | "id"
                if depth > 0 && self.draft < Draft::Draft201909 && self.is_resource(self.found[index].schema) =>
            {
                return Err(format!("{keyword} stands at the root only, before draft 2019-09"));
            }
            _ => {}
        }
        Ok(())
    }

    fn link(&mut self) -> Result<(), String> {
        let mut references = 0;
        for index in 0..self.found.len() {
            for keyword in ["$ref", "$dynamicRef", "$recursiveRef"] {
                let Some(reference) = self.found[index].schema.get(keyword).and_then(Value::as_str) else { continue };
                if keyword == "$recursiveRef" && reference != "#" {
                    return Err("$recursiveRef is \"#\"".to_owned());
                }
                references += 1;
                if references > REFERENCES_MAX {
                    return Err(format!("a schema has at most {REFERENCES_MAX} references"));
                }
                let mut targets = vec![self.target(reference, self.found[index].resource)?];
                match keyword {
                    "$dynamicRef" => {
                        let name = reference.rsplit('#').next().unwrap_or_default();
                        targets.extend(self.dynamic_anchors.get(name).into_iter().flatten());
                    }
                    "$recursiveRef" => {
                        let is_dynamic = |root: &&&Value| root.get("$recursiveAnchor") == Some(&Value::Bool(true));
                        let roots = self.resources.iter().filter(is_dynamic);
                        targets.extend(roots.filter_map(|root| self.places.get(&std::ptr::from_ref(*root))));
                    }
                    _ => {}
                }
                self.found[index].here.push(targets);
            }
        }
        Ok(())
    }

    /// Where a reference leads from inside of a resource.
    fn target(&self, reference: &str, resource: usize) -> Result<usize, String> {
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let outside =
            || format!("the reference {:?} leads outside of the schema, and is not followed", clip(reference));
        let resource = if base.is_empty() { resource } else { *self.ids.get(base).ok_or_else(outside)? };
        let nothing = || format!("the reference {:?} leads to no subschema", clip(reference));
        if !fragment.is_empty() && !fragment.starts_with('/') {
            return self.anchors.get(&(resource, fragment)).copied().ok_or_else(nothing);
        }
        let pointer = unescape(fragment).ok_or_else(nothing)?;
        let place = self.resources[resource].pointer(&pointer).ok_or_else(nothing)?;
        self.places.get(&std::ptr::from_ref(place)).copied().ok_or_else(nothing)
    }
}

/// Whether no other `$id` can mean the same URI, and the validator has no schema of its own there.
fn is_exact(id: &str) -> bool {
    let is_canonical = Uri::parse(id).is_ok_and(|uri| uri.as_str() == id);
    is_canonical && ["#", "/.", "json-schema:", "//json-schema.org/"].iter().all(|part| !id.contains(part))
}

/// Undoes the `%XX` of a URI's fragment.
fn unescape(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}
