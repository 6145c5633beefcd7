//! What would come to light only when a server is started or called: headers that are none, programs that are not there.

use std::collections::BTreeMap;
use std::path::Path;

use super::expand::Lookup;
use super::fields::Report;
use crate::jsonc::{Kind, Node};

/// Bytes of a file of variables.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Whether what is in `node`, and came to `headers`, are headers. Values are in no finding.
pub(super) fn check_headers(node: &Node, headers: &BTreeMap<String, String>, report: &mut Report) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    each(node, headers, report, |name, value| {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Some(format!("{name:?} is no name of a header"));
        }
        let is_bad = value.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 127);
        is_bad.then(|| {
            format!("the value of the header {name:?} has a character that no header may have, such as a newline")
        })
    });
}

/// The same of variables of the environment.
pub(super) fn check_env(node: &Node, env: &BTreeMap<String, String>, report: &mut Report) {
    each(node, env, report, |name, value| {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Some(format!("{name:?} is no name of a variable"));
        }
        value.contains('\0').then(|| format!("the value of the variable {name:?} has a NUL"))
    });
}

fn each(
    node: &Node,
    values: &BTreeMap<String, String>,
    report: &mut Report,
    problem: impl Fn(&str, &str) -> Option<String>,
) {
    let Kind::Object(members) = &node.kind else { return };
    for member in members {
        let value = values.get(&member.name).map(String::as_str).unwrap_or_default();
        if let Some(why) = problem(&member.name, value) {
            report.error(member.at, why);
        }
    }
}

/// Warns about a program that cannot be found where it would be looked for. It may be there when it is started.
pub(super) fn check_program(
    node: &Node,
    (program, has_args): (&str, bool),
    (env, folder): (&BTreeMap<String, String>, Option<&Path>),
    lookup: &Lookup<'_>,
    report: &mut Report,
) {
    let is_there = match Path::new(program).components().count() {
        0 | 1 => {
            // On Windows a program has endings that are tried in turn.
            let path = env.get("PATH").cloned().or_else(|| lookup("PATH")).filter(|_| cfg!(unix));
            path.is_none_or(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
        }
        // A relative one is looked for in the folder, by most systems.
        _ => Path::new(program).is_file() || folder.is_some_and(|folder| folder.join(program).is_file()),
    };
    if is_there {
        return;
    }
    let why = match program.contains(' ') && !has_args {
        true => "there is no such program; if it is a command line, its words belong in \"args\": no shell splits it",
        false => "there is no such program, in PATH or at its path",
    };
    report.warn(node.at, format!("\"command\": {why}"));
}

/// The variables of a file as other clients have them: lines `NAME=value`, where a value may be in quotes, and comments.
///
/// # Errors
/// Why it cannot be used, without a value.
pub(super) fn read_env(file: &Path) -> Result<BTreeMap<String, String>, String> {
    let told = |why: &dyn std::fmt::Display| format!("\"envFile\" {file:?} cannot be read: {why}");
    let about = std::fs::metadata(file).map_err(|error| told(&error))?;
    if about.len() > FILE_BYTES_MAX {
        return Err(told(&format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| told(&error))?;
    let mut variables = BTreeMap::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let named = line.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
        match named {
            Some((name, value)) if !name.is_empty() && !line.contains('\0') => {
                variables.insert(name.to_owned(), unquoted(value).to_owned());
            }
            _ => return Err(told(&format!("line {} is not NAME=value", index + 1))),
        }
    }
    Ok(variables)
}

fn unquoted(value: &str) -> &str {
    ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(value)
}
