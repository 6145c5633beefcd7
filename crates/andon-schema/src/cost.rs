//! How much work a schema can make of a value, bounded before it is ever used.
//!
//! A validation cannot be interrupted. So the most that it can do to one value is counted for each depth at which the
//! value may stand: which subschemas can be applied to it, with references followed, and how dear each of them is.
//! A value is then weighed by what stands at which depth, and refused when that is too much. For a recursive schema
//! the counts go on for as deep as values go, so that nothing depends on where a recursion ends.

use jsonschema::{Draft, PatternOptions};
use serde_json::{Value, json};

use super::PATTERN_BYTES_MAX;
use super::survey::{Subschema, survey};
use andon_types::error::clip;

/// How deep values may nest.
const VALUE_DEPTH_MAX: usize = 128;
/// Subschemas that may be applied to one and the same value.
const HERE_MAX: u64 = 10_000;
/// Work on one value. A unit is a small check, about ten nanoseconds.
const WORK_MAX: u64 = 4_000_000;
/// Work after which it is only told that a value is wrong, and not where: each place takes about a kilobyte.
const TOLD_WORK_MAX: u64 = 20_000;
/// Calls within calls; more of them could exhaust a thread's stack.
const FRAMES_MAX: u64 = 1_500;
/// Depths at which every schema has to be affordable.
const USUAL_DEPTH: usize = 4;
/// Bytes of all patterns when compiled.
const PATTERNS_BYTES_MAX: u64 = 16 << 20;
const PATTERNS_MAX: usize = 256;
/// Bytes that are read in a unit of work.
const BYTES_PER_UNIT: u64 = 64;
/// To say what has not been evaluated, subschemas beside are evaluated again. The tests count how often at most.
const UNEVALUATED_FACTOR: u64 = 4;

/// The most work that a schema makes.
#[derive(Debug)]
pub(super) struct Cost {
    /// By depth of a value; the last stands for all that are deeper.
    levels: Vec<Level>,
}

/// What is done to one value at some depth.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Level {
    /// Units of work, whatever the value is.
    units: u64,
    /// Times that a byte of a text or a name is read.
    reads: u64,
    /// Calls within calls.
    frames: u64,
}

/// Whether a value may be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Price {
    /// And everything that is wrong may be told.
    Cheap,
    /// And it may be told whether it is right.
    Fair,
    TooDear,
}

impl Cost {
    /// # Errors
    /// Why the schema is too dear, or not to be followed; in words.
    pub(super) fn of(schema: &Value, draft: Draft) -> Result<Self, String> {
        let subschemas = survey(schema, draft)?;
        let order = order(&subschemas)?;
        let own = own(&subschemas, draft)?;
        let mut here: Vec<u64> = vec![1; subschemas.len()];
        for &index in &order {
            let each = |alternatives: &Vec<usize>| alternatives.iter().map(|other| here[*other]).max().unwrap_or(0);
            let sum = subschemas[index].here.iter().map(each).fold(0, u64::saturating_add);
            here[index] = sum.saturating_mul(factor(&subschemas[index])).saturating_add(1);
            if here[index] > HERE_MAX {
                return Err(format!("one value would be checked against more than {HERE_MAX} subschemas"));
            }
        }
        let levels = levels(&subschemas, &order, &own);
        let is_recursive = levels.last().is_some_and(|deepest| deepest.frames > 0);
        let usual = if is_recursive { USUAL_DEPTH } else { levels.len() };
        if levels.iter().take(usual).any(|level| level.units > WORK_MAX) {
            return Err("its subschemas multiply so that some values could never be checked".to_owned());
        }
        Ok(Self { levels })
    }

    pub(super) fn price(&self, value: &Value) -> Price {
        let mut work = 0_u64;
        let Ok(depth) = self.weigh(value, 0, 0, &mut work) else { return Price::TooDear };
        let frames = self.levels.iter().take(depth + 1).map(|level| level.frames).max().unwrap_or(0);
        match work {
            _ if frames > FRAMES_MAX => Price::TooDear,
            0..=TOLD_WORK_MAX => Price::Cheap,
            _ => Price::Fair,
        }
    }

    /// Adds the work on `value`, and says how deep it goes.
    fn weigh(&self, value: &Value, name_bytes: usize, depth: usize, work: &mut u64) -> Result<usize, TooDear> {
        if depth > VALUE_DEPTH_MAX {
            return Err(TooDear);
        }
        let level = self.levels.get(depth).or(self.levels.last()).copied().unwrap_or_default();
        let bytes = name_bytes + value.as_str().map_or(0, str::len);
        let reads = level.reads.saturating_mul(bytes as u64) / BYTES_PER_UNIT;
        *work = work.saturating_add(level.units.max(1)).saturating_add(reads);
        if *work > WORK_MAX {
            return Err(TooDear);
        }
        let mut deepest = depth;
        match value {
            Value::Array(items) => {
                for item in items {
                    deepest = deepest.max(self.weigh(item, 0, depth + 1, work)?);
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    deepest = deepest.max(self.weigh(member, name.len(), depth + 1, work)?);
                }
            }
            _ => {}
        }
        Ok(deepest)
    }
}

struct TooDear;

impl Level {
    fn plus(self, other: Self) -> Self {
        Self {
            units: self.units.saturating_add(other.units),
            reads: self.reads.saturating_add(other.reads),
            frames: self.frames.max(other.frames),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            units: self.units.max(other.units),
            reads: self.reads.max(other.reads),
            frames: self.frames.max(other.frames),
        }
    }

    fn times(self, factor: u64) -> Self {
        Self { units: self.units.saturating_mul(factor), reads: self.reads.saturating_mul(factor), frames: self.frames }
    }
}

/// Subschemas, those before it that are applied to the same value.
///
/// # Errors
/// When one is applied to the same value by itself.
fn order(subschemas: &[Subschema<'_>]) -> Result<Vec<usize>, String> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; subschemas.len()];
    let mut order = Vec::with_capacity(subschemas.len());
    for start in 0..subschemas.len() {
        let mut open = vec![start];
        while let Some(&index) = open.last() {
            match marks[index] {
                Mark::New => {
                    marks[index] = Mark::Open;
                    for &other in subschemas[index].here.iter().flatten() {
                        match marks[other] {
                            Mark::New => open.push(other),
                            Mark::Open => {
                                return Err(
                                    "a reference leads back to itself for the same value, without end".to_owned()
                                );
                            }
                            Mark::Done => {}
                        }
                    }
                }
                Mark::Open => {
                    marks[index] = Mark::Done;
                    order.push(index);
                    open.pop();
                }
                Mark::Done => drop(open.pop()),
            }
        }
    }
    Ok(order)
}

/// What the schema at index 0 does to values at each depth.
fn levels(subschemas: &[Subschema<'_>], order: &[usize], own: &[Own]) -> Vec<Level> {
    let mut above: Vec<Level> = Vec::new();
    let mut levels = Vec::new();
    for depth in 0..=VALUE_DEPTH_MAX {
        let mut current = vec![Level::default(); subschemas.len()];
        for &index in order {
            let subschema = &subschemas[index];
            let mut level = Level::default();
            for alternatives in &subschema.here {
                level = level.plus(one_of(&current, alternatives));
            }
            level = level.times(factor(subschema));
            if depth > 0 {
                level = level.plus(child(subschema, &above, depth));
            }
            let Own { here, below, name_reads } = own[index];
            let frames = if depth == 0 || level.frames > 0 { level.frames + 1 } else { 0 };
            level = match depth {
                0 => level.plus(here),
                1 => level.plus(below).plus(Level { reads: name_reads, ..Level::default() }),
                _ => level.plus(below),
            };
            current[index] = Level { frames, ..level };
        }
        levels.push(current[0]);
        if depth > 1 && current == above {
            break;
        }
        above = current;
    }
    levels
}

/// What a subschema does to a value in the one that it is applied to.
fn child(subschema: &Subschema<'_>, above: &[Level], depth: usize) -> Level {
    let all = |list: &[usize]| list.iter().fold(Level::default(), |level, index| level.plus(above[*index]));
    let mut member = one_of(above, &subschema.member).plus(all(&subschema.members));
    if depth == 1 {
        member = member.plus(all(&subschema.names));
    }
    // `contains` and `unevaluatedItems`, of which the one looks at the items of the other again.
    member.or(one_of(above, &subschema.item).plus(all(&subschema.items).times(factor(subschema))))
}

fn one_of(levels: &[Level], alternatives: &[usize]) -> Level {
    alternatives.iter().fold(Level::default(), |level, index| level.or(levels[*index]))
}

fn factor(subschema: &Subschema<'_>) -> u64 {
    let has = |keyword| subschema.schema.get(keyword).is_some();
    if has("unevaluatedProperties") || has("unevaluatedItems") { UNEVALUATED_FACTOR } else { 1 }
}

/// What a subschema does by itself, without others.
#[derive(Clone, Copy)]
struct Own {
    here: Level,
    below: Level,
    name_reads: u64,
}

fn own(subschemas: &[Subschema<'_>], draft: Draft) -> Result<Vec<Own>, String> {
    let mut patterns = Patterns { draft, count: 0, bytes: 0 };
    subschemas.iter().map(|subschema| patterns.own(subschema.schema)).collect()
}

struct Patterns {
    draft: Draft,
    count: usize,
    bytes: u64,
}

impl Patterns {
    fn own(&mut self, schema: &Value) -> Result<Own, String> {
        let mut own = Own { here: Level { units: 1, reads: 0, frames: 0 }, below: Level::default(), name_reads: 0 };
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            let (units, reads) = match keyword.as_str() {
                "enum" if value.as_array().is_some_and(|values| values.iter().all(Value::is_string)) => (1, 1),
                "enum" | "const" | "dependentRequired" | "required" | "dependencies" => (nodes(value), 1),
                "properties" | "dependentSchemas" => (value.as_object().map_or(0, |named| named.len() as u64), 0),
                "minLength" | "maxLength" => (1, 1),
                // Reading a text as a pattern compiles it.
                "format" if value == "regex" => (1, 4096 * BYTES_PER_UNIT),
                "format" | "contentEncoding" | "contentMediaType" => (1, BYTES_PER_UNIT),
                "pattern" => (1, self.reads(value.as_str().unwrap_or_default())?),
                "patternProperties" => {
                    for pattern in value.as_object().into_iter().flat_map(serde_json::Map::keys) {
                        own.name_reads = own.name_reads.saturating_add(self.reads(pattern)?);
                        own.below.units += 1;
                    }
                    (0, 0)
                }
                "uniqueItems" => {
                    // Items are read whole, however deep they are.
                    own.below = own.below.plus(Level { units: 1, reads: 1, frames: 0 });
                    (0, 0)
                }
                _ => (0, 0),
            };
            own.here.units = own.here.units.saturating_add(units);
            own.here.reads = own.here.reads.saturating_add(reads);
        }
        Ok(own)
    }

    /// What it takes to match a byte. The time is linear in the text, and the factor grows with the pattern's size.
    fn reads(&mut self, pattern: &str) -> Result<u64, String> {
        self.count += 1;
        if self.count > PATTERNS_MAX {
            return Err(format!("a schema has at most {PATTERNS_MAX} patterns"));
        }
        let schema = json!({ "pattern": pattern });
        let fits = |bytes: &usize| {
            let options = PatternOptions::regex().size_limit(*bytes).dfa_size_limit(PATTERN_BYTES_MAX);
            let options = jsonschema::options().with_draft(self.draft).offline().with_pattern_options(options);
            options.build(&schema).is_ok()
        };
        let sizes = std::iter::successors(Some(4 << 10), |bytes| Some(bytes * 4));
        let Some(bytes) = sizes.take_while(|bytes| *bytes <= PATTERN_BYTES_MAX).find(fits) else {
            return Err(format!(
                "the pattern {:?} is too large, or has what cannot be matched in linear time (such as lookaround and \
                 references to groups)",
                clip(pattern)
            ));
        };
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes > PATTERNS_BYTES_MAX {
            return Err(format!("the patterns of a schema take at most {PATTERNS_BYTES_MAX} bytes when compiled"));
        }
        Ok((bytes as u64).isqrt().saturating_mul(BYTES_PER_UNIT))
    }
}

/// Values in `value`, itself included.
fn nodes(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.iter().map(nodes).fold(1, u64::saturating_add),
        Value::Object(members) => members.values().map(nodes).fold(1, u64::saturating_add),
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
