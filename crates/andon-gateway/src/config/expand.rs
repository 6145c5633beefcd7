//! `${VAR}` and `${VAR:-default}`.

/// Looks up a variable of the environment.
pub(crate) type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// `text` with its variables replaced. `${env:VAR}` and `${userHome}` are what another well-known client calls them.
///
/// # Errors
/// When a variable is not set and has no default, or is of a kind that is not there.
pub(crate) fn expand(text: &str, lookup: &Lookup<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let inner = &rest[start + 2..];
        let Some(end) = inner.find('}') else { return Err("`${` has no `}`".to_owned()) };
        out.push_str(&value_of(&inner[..end], lookup)?);
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn value_of(what: &str, lookup: &Lookup<'_>) -> Result<String, String> {
    if what == "userHome" {
        return lookup("HOME").or_else(|| lookup("USERPROFILE")).ok_or_else(|| "there is no home folder".to_owned());
    }
    if what.starts_with("input:") {
        let none = || {
            format!("${{{what}}} asks a person, and there is none here: give it a \"default\", or use ${{VARIABLE}}")
        };
        return lookup(what).ok_or_else(none);
    }
    if what.contains("${") {
        return Err("a variable within a variable is not replaced: a default is plain text".to_owned());
    }
    let (name, default) = match what.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (what, None),
    };
    let name = name.strip_prefix("env:").unwrap_or(name);
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    // What VS Code knows of the window that is open.
    let is_of_a_window =
        matches!(name, "workspaceFolder" | "workspaceFolderBasename" | "workspaceRoot" | "file" | "cwd")
            || ["workspaceFolder:", "config:", "command:"].iter().any(|begin| name.starts_with(begin));
    if is_of_a_window && (!is_name || lookup(name).is_none()) && default.is_none() {
        return Err(format!(
            "${{{what}}} is what VS Code has open, which is unknown here: write the path or value itself"
        ));
    }
    if !is_name {
        return Err(format!("${{{what}}} is not ${{VARIABLE}} or ${{VARIABLE:-default}}"));
    }
    // As in a shell, a variable that is empty has its default.
    match (lookup(name).filter(|value| default.is_none() || !value.is_empty()), default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!("the variable {name} is not set: set it, or write ${{{name}:-default}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn variables_are_replaced() {
        let lookup = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            "HOME" => Some("/h".to_owned()),
            _ => None,
        };
        let check = |text: &str, expected: &str| assert_eq!(expand(text, &lookup).as_deref(), Ok(expected), "{text}");
        check("plain $A $ {", "plain $A $ {");
        check("<${A}${A}>", "<11>");
        check("${B:-x:-y}", "x:-y");
        check("${EMPTY}${EMPTY:-d}", "d");
        check("${env:A}${userHome}", "1/h");
        assert!(expand("${workspaceFolder}/x", &lookup).unwrap_err().contains("VS Code"));
        for bad in [
            "${NOPE:-x${HOME}y}",
            "${workspaceFolder:api}",
            "${B}",
            "${",
            "${A",
            "${a b}",
            "${}",
            "${input:token}",
            "${command:x}",
        ] {
            assert!(expand(bad, &lookup).is_err(), "{bad}");
        }
    }
}
