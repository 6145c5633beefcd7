//! `andon serve mcp.json` in front of other people's servers, each compared with itself directly; and in front of the
//! fixture of the official suite, in every pair of eras and over both transports.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::Outcome;
use crate::conformance;
use crate::interop::everything_over_http;
use crate::tools::{NODE, Server, at_once, finish, node, npm, program, python, root, target};

const SERVERS: [&str; 4] = [
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-memory@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
    "@modelcontextprotocol/server-sequential-thinking@2026.8.31",
];
const PYTHON: &str = "mcp-server-time==2026.10.19";
/// One client of each era, and one of a revision between.
const REVISIONS: [&str; 3] = ["2025-06-18", "2025-11-25", "2026-07-28"];

pub(crate) fn run() -> Outcome {
    let packages: Vec<&str> = SERVERS.into_iter().chain([NODE]).collect();
    let folder = npm("interop-gateway", &packages)?;
    let python = python("interop-gateway-python", PYTHON)?;
    at_once(REVISIONS.map(|revision| {
        let (folder, python) = (&folder, &python);
        move || compare(folder, python, revision)
    }))?;
    suite()
}

/// Each server through the gateway and directly, by a client of `revision`.
fn compare(folder: &Path, python: &Path, revision: &str) -> Outcome {
    let own = target().join("interop-gateway").join(format!("files-{revision}"));
    // What an earlier run left would be seen.
    drop(std::fs::remove_dir_all(&own));
    std::fs::create_dir_all(&own).map_err(|error| error.to_string())?;
    std::fs::write(own.join("note.txt"), "a note\n").map_err(|error| error.to_string())?;
    let path = |name: &str| own.join(name).display().to_string();
    let script = |name: &str| {
        let modules = folder.join("node_modules/@modelcontextprotocol");
        modules.join(format!("server-{name}/dist/index.js")).display().to_string()
    };
    let node = node(folder).display().to_string();
    let time = python.with_file_name("mcp-server-time").display().to_string();
    let (remote, url) = everything_over_http(&node, &script("everything"))?;
    let everything = vec![node.clone(), script("everything"), "stdio".to_owned()];
    let memory = vec![node.clone(), script("memory")];
    // As users start them; what npm brought is found there.
    let npx = |package: &str| json!({ "command": "npx", "args": ["-y", package], "cwd": folder });
    let files = vec![node.clone(), script("filesystem"), own.display().to_string()];
    let thinking = vec![node, script("sequential-thinking")];
    let place = |words: &[String], andon: Value| json!({ "command": words[0], "args": words[1..], "andon": andon });
    let mut remembering = npx(SERVERS[1]);
    remembering["env"] = json!({ "MEMORY_FILE_PATH": path("memory-through.json") });
    let mut reading = place(&files, json!({}));
    reading["cwd"] = json!(own);
    // Lists wait for who starts, however long that takes on a busy machine: they are compared whole.
    let config = json!({ "andon": { "list_wait_s": 60 }, "mcpServers": {
        "everything": place(&everything, json!({ "mode": "session" })),
        "everyone": place(&everything, json!({})),
        "memory": remembering,
        "filesystem": reading,
        "thinking": npx(SERVERS[3]),
        "time": { "command": time },
        "remote": { "url": url },
    }});
    let gateway = serve(&format!("interop-{revision}"), &config)?;
    let visit = |at: &str, prefix: &[&str], command: &[String]| {
        let mut program = Command::new(program("interop-gateway"));
        program.args([revision, &format!("{}{at}", gateway.url)]).args(prefix).arg("--").args(command);
        program.current_dir(&own);
        finish(program)
    };
    visit("", &["everything__", "own"], &everything)?;
    visit("/everyone", &["-"], &everything)?;
    visit("/remote", &["-"], std::slice::from_ref(&url))?;
    let directly = ["env".to_owned(), format!("MEMORY_FILE_PATH={}", path("memory-directly.json"))];
    visit("", &["memory__"], &[directly.as_slice(), &memory].concat())?;
    visit("", &["filesystem__"], &files)?;
    visit("", &["thinking__"], &thinking)?;
    visit("", &["time__"], std::slice::from_ref(&time))?;
    drop((gateway, remote));
    Ok(())
}

/// The official suite against the fixture behind the gateway.
fn suite() -> Outcome {
    let fixture = program("conformance-server").display().to_string();
    // One for each: the suite adds what it takes away elsewhere, and a list that is what it was a moment ago has not changed.
    let remote = || Server::start("conformance-server", &["--listen", "127.0.0.1:0"]);
    let (either, earlier) = (remote()?, remote()?);
    let child = |andon: Value| json!({ "command": fixture, "args": ["--listen", "stdio"], "andon": andon });
    let config = json!({ "mcpServers": {
        "stdio": child(json!({ "mode": "session", "protocol": "2026-07-28" })),
        // The suite leaves sessions and questions open, dozens at once.
        "stdio-2025": child(json!({ "mode": "session", "protocol": "2025-11-25", "instances_max": 100 })),
        "http": { "url": either.url },
        "http-2025": { "url": earlier.url, "andon": { "protocol": "2025-11-25" } },
    }});
    let gateway = serve("suite", &config)?;
    let upstreams = ["stdio", "stdio-2025", "http", "http-2025"];
    let excused =
        std::fs::read_to_string(root().join("conformance/expected/gateway.txt")).map_err(|error| error.to_string())?;
    conformance::fetch()?;
    let leg = |upstream: &'static str| -> conformance::Leg<'_> {
        let (url, excused) = (format!("{}/{upstream}", gateway.url), &excused);
        Box::new(move || conformance::through(upstream, &url, excused))
    };
    conformance::play_all(upstreams.map(leg).into())
}

/// A gateway over the servers of `config`.
fn serve(name: &str, config: &Value) -> Result<Server, String> {
    let file: PathBuf = target().join(format!("gateway-{name}.json"));
    std::fs::write(&file, config.to_string()).map_err(|error| format!("{}: {error}", file.display()))?;
    Server::start("andon", &["serve", &file.display().to_string(), "--listen", "127.0.0.1:0"])
}
