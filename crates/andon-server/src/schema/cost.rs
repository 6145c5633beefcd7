//! How much work a schema can make of a value, found before it is ever used. A validation cannot be interrupted, so
//! what could take too long is refused here, or bounds the values that are checked.

use std::collections::{HashMap, HashSet};

use andon_types::error::clip;
use serde_json::Value;

/// Nesting of a schema's JSON; a property's schema is two levels below its object's.
const DEPTH_MAX: usize = 64;
const SUBSCHEMAS_MAX: usize = 5_000;
const REFERENCES_MAX: usize = 512;
/// Subschemas that one value may be checked against, with references followed.
const IN_PLACE_MAX: u64 = 10_000;
/// Paths through a recursive schema that one value may have.
const PATHS_MAX: u64 = 65_536;

#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// Subschemas that are applied to one value, at most.
    pub(super) per_value: u64,
    /// How deep a value may nest.
    pub(super) depth_max: u32,
}

/// Applied to the same value as the schema that they stand in.
const IN_PLACE_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const IN_PLACE: [&str; 4] = ["not", "if", "then", "else"];
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

pub(super) fn analyse(root: &Value) -> Result<Cost, String> {
    let mut survey =
        Survey { root, anchors: HashMap::new(), ids: HashSet::new(), objects: Vec::new(), references: Vec::new() };
    survey.walk(root, 0)?;
    if survey.references.len() > REFERENCES_MAX {
        return Err(format!("a schema has at most {REFERENCES_MAX} references"));
    }
    let targets = survey.references.iter().map(|reference| survey.target(reference)).collect::<Result<Vec<_>, _>>()?;
    let cyclic: HashSet<*const Value> = targets
        .iter()
        .filter(|target| survey.reaches_itself(target))
        .map(|target| std::ptr::from_ref(*target))
        .collect();
    let mut walk = InPlace { survey: &survey, cyclic: &cyclic, known: HashMap::new(), open: HashSet::new() };
    let (mut per_value, mut branching) = (1, 1);
    for object in &survey.objects {
        let (cost, paths) = walk.cost(object)?;
        per_value = per_value.max(cost);
        branching = branching.max(paths);
    }
    if per_value > IN_PLACE_MAX {
        return Err(format!("one value would be checked against more than {IN_PLACE_MAX} subschemas"));
    }
    let depth_max = if branching < 2 { u32::MAX } else { PATHS_MAX.ilog(branching) };
    Ok(Cost { per_value, depth_max })
}

struct Survey<'a> {
    root: &'a Value,
    anchors: HashMap<&'a str, &'a Value>,
    ids: HashSet<&'a str>,
    objects: Vec<&'a Value>,
    references: Vec<&'a str>,
}

impl<'a> Survey<'a> {
    fn walk(&mut self, node: &'a Value, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("a schema nests at most {DEPTH_MAX} levels"));
        }
        match node {
            Value::Array(items) => items.iter().try_for_each(|item| self.walk(item, depth + 1)),
            Value::Object(members) => {
                self.objects.push(node);
                if self.objects.len() > SUBSCHEMAS_MAX {
                    return Err(format!("a schema has at most {SUBSCHEMAS_MAX} subschemas"));
                }
                for (key, value) in members {
                    match (key.as_str(), value) {
                        ("const" | "enum" | "default" | "examples", _) => continue,
                        ("$anchor" | "$dynamicAnchor", Value::String(name)) => drop(self.anchors.insert(name, node)),
                        ("$id", Value::String(id)) => drop(self.ids.insert(id)),
                        (key, Value::String(target)) if REFERENCES.contains(&key) => self.references.push(target),
                        _ => {}
                    }
                    self.walk(value, depth + 1)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Where a reference leads; outside of the schema it leads nowhere.
    fn target(&self, reference: &str) -> Result<&'a Value, String> {
        let refused =
            || format!("the reference {:?} leads outside of the schema, and is not followed", clip(reference));
        let Some(fragment) = reference.strip_prefix('#') else {
            let base = reference.split('#').next().unwrap_or_default();
            return if self.ids.contains(base) { Ok(self.root) } else { Err(refused()) };
        };
        if fragment.is_empty() || fragment.starts_with('/') {
            let found = self.root.pointer(&fragment.replace("%25", "%"));
            return found.ok_or_else(|| format!("the reference {:?} leads to nothing", clip(reference)));
        }
        self.anchors.get(fragment).copied().ok_or_else(|| format!("the anchor {:?} is not there", clip(fragment)))
    }

    fn reaches_itself(&self, start: &'a Value) -> bool {
        let mut seen: HashSet<*const Value> = HashSet::new();
        let mut next: Vec<&Value> = self.children(start);
        while let Some(node) = next.pop() {
            if std::ptr::eq(node, start) {
                return true;
            }
            if seen.insert(node) {
                next.extend(self.children(node));
            }
        }
        false
    }

    fn children(&self, node: &'a Value) -> Vec<&'a Value> {
        match node {
            Value::Array(items) => items.iter().collect(),
            Value::Object(members) => {
                let mut children: Vec<&Value> =
                    members.values().filter(|value| value.is_object() || value.is_array()).collect();
                children.extend(references(node).filter_map(|reference| self.target(reference).ok()));
                children
            }
            _ => Vec::new(),
        }
    }
}

fn references(node: &Value) -> impl Iterator<Item = &str> {
    REFERENCES.iter().filter_map(|key| node.get(*key).and_then(Value::as_str))
}

/// Counts what is applied to one value.
struct InPlace<'a, 's> {
    survey: &'s Survey<'a>,
    cyclic: &'s HashSet<*const Value>,
    known: HashMap<*const Value, (u64, u64)>,
    open: HashSet<*const Value>,
}

impl<'a> InPlace<'a, '_> {
    /// Subschemas applied to the value that `node` is applied to; and, of those, references that recur below it.
    fn cost(&mut self, node: &'a Value) -> Result<(u64, u64), String> {
        let key = std::ptr::from_ref(node);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        if !self.open.insert(key) {
            return Err("a reference leads back to itself for the same value, without end".to_owned());
        }
        let (mut cost, mut paths) = (1_u64, 0_u64);
        let lists = IN_PLACE_LISTS.iter().filter_map(|key| node.get(*key).and_then(Value::as_array)).flatten();
        let single = IN_PLACE.iter().filter_map(|key| node.get(*key));
        let dependent =
            node.get("dependentSchemas").and_then(Value::as_object).into_iter().flat_map(|map| map.values());
        for child in lists.chain(single).chain(dependent) {
            let (more, below) = self.cost(child)?;
            cost = cost.saturating_add(more);
            paths = paths.saturating_add(below);
        }
        for reference in references(node) {
            let target = self.survey.target(reference)?;
            let (more, below) = self.cost(target)?;
            let recurs = u64::from(self.cyclic.contains(&std::ptr::from_ref(target)));
            cost = cost.saturating_add(more);
            paths = paths.saturating_add(below.max(recurs));
        }
        self.open.remove(&key);
        self.known.insert(key, (cost, paths));
        Ok((cost, paths))
    }
}
