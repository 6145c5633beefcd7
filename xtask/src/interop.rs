//! Other people's clients against the demo server, over HTTP and over stdio.

use std::process::Command;

use crate::Outcome;
use crate::tools::{Server, cargo, finish, node, npm, root, target};

const NODE: &str = "node@22.23.3";
const TYPESCRIPT_1: [&str; 2] = ["@modelcontextprotocol/sdk@1.32", NODE];

pub(crate) fn run() -> Outcome {
    cargo(&["build", "--package", "andon-cli"], &[])?;
    let server = Server::start("andon", &["serve", "--listen", "127.0.0.1:0"])?;
    let binary = target().join("debug").join("andon");
    let folder = npm("interop-typescript-1", &TYPESCRIPT_1)?;
    let script = folder.join("typescript1.mjs");
    std::fs::copy(root().join("conformance/interop/typescript1.mjs"), &script).map_err(|error| error.to_string())?;
    for place in [vec![server.url.clone()], vec!["--stdio".to_owned(), binary.display().to_string()]] {
        let mut command = Command::new(node(&folder));
        command.arg(&script).args(&place).current_dir(&folder);
        finish(command)?;
    }
    Ok(())
}
