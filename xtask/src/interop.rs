//! Other people's clients against the demo server, over HTTP and over stdio.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::tools::{Server, cargo, finish, node, npm, root, target};

const NODE: &str = "node@22.23.3";
/// Folder, package, script.
const TYPESCRIPT: [(&str, &str, &str); 2] = [
    ("interop-typescript-1", "@modelcontextprotocol/sdk@1.32.2", "typescript1.mjs"),
    ("interop-typescript-2", "@modelcontextprotocol/client@2.4.0", "typescript2.mjs"),
];
const PYTHON: &str = "mcp==2.3.0";

pub(crate) fn run() -> Outcome {
    cargo(&["build", "--package", "andon-cli"], &[])?;
    let server = Server::start("andon", &["serve", "--listen", "127.0.0.1:0"])?;
    let binary = target().join("debug").join("andon").display().to_string();
    let places = [vec![server.url.clone()], vec!["--stdio".to_owned(), binary]];
    let sse = vec!["--sse".to_owned(), format!("{}/sse", server.url.trim_end_matches("/mcp"))];
    for (folder, package, script) in TYPESCRIPT {
        let folder = npm(folder, &[package, NODE])?;
        for file in ["checks.mjs", script] {
            let own = folder.join(file);
            std::fs::copy(scripts().join(file), own).map_err(|error| format!("{file}: {error}"))?;
        }
        // One line of the SDK is enough for a transport that both have alike.
        for place in places.iter().chain((script == "typescript1.mjs").then_some(&sse)) {
            let mut command = Command::new(node(&folder));
            command.arg(script).args(place).current_dir(&folder);
            finish(command)?;
        }
    }
    let python = python()?;
    for place in places.iter().chain([&sse]) {
        let mut command = Command::new(&python);
        command.arg(scripts().join("python2.py")).args(place);
        finish(command)?;
    }
    Ok(())
}

fn scripts() -> PathBuf {
    root().join("conformance").join("interop")
}

/// The Python of an environment that has the official SDK.
fn python() -> Result<PathBuf, String> {
    let folder = target().join("interop-python");
    let stamp = folder.join("installed");
    let python = folder.join("bin").join("python");
    if std::fs::read_to_string(&stamp).is_ok_and(|known| known == PYTHON) {
        return Ok(python);
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv"]).arg(&folder);
    finish(create).map_err(|why| format!("Python 3.10 or newer, with venv, is needed: {why}"))?;
    let mut install = Command::new(Path::new(&python));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PYTHON]);
    finish(install).map_err(|why| format!("pip is needed, with its registry: {why}"))?;
    std::fs::write(&stamp, PYTHON).map_err(|error| error.to_string())?;
    Ok(python)
}
