use std::path::Path;
use std::time::Duration;

use super::{Checked, Mode, Place, Severity, check};

fn of(text: &str) -> Checked {
    let lookup = |name: &str| (name == "TOKEN").then(|| "s3cret".to_owned());
    check((Path::new("mcp.json"), text), None, &lookup)
}

#[test]
fn the_file_of_well_known_clients_is_read() {
    let checked = of(r#"{
        // as Claude Desktop writes it
        "mcpServers": {
            "files": {
                "command": "npx", "args": ["-y", "server", "${HOME:-/tmp}"], "env": {"KEY": "${TOKEN}", "N": 9007199254740993},
                "autoApprove": ["read"], "andon": {"mode": "session", "timeout_s": 1.5, "tools": {"deny": ["write*"]}},
            },
            "remote": {"type": "http", "url": "https://mcp.example.com/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
            "off": {"command": "x", "disabled": true},
        },
        "andon": {"timeout_s": 7},
    }"#);
    assert_eq!(checked.findings, []);
    let config = checked.config.expect("it is fine");
    let names: Vec<&str> = config.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["files", "remote"]);
    let Place::Child { program, args, env, folder, .. } = &config.servers[0].place else { panic!("a child") };
    assert_eq!((program.as_str(), args[2].as_str(), folder), ("npx", "/tmp", &None));
    assert_eq!((env["KEY"].as_str(), env["N"].as_str()), ("s3cret", "9007199254740993"));
    assert_eq!(config.servers[0].settings.mode, Some(Mode::Session));
    assert_eq!(config.servers[0].settings.timeout, Duration::from_millis(1500));
    assert!(!config.servers[0].settings.tools.permit("write_file"));
    let Place::Remote { headers, .. } = &config.servers[1].place else { panic!("a URL") };
    assert_eq!(headers["Authorization"], "Bearer s3cret");
    assert_eq!(config.servers[1].settings.timeout, Duration::from_secs(7));
}

#[test]
fn the_file_of_vs_code_is_read() {
    let checked = of(r#"{
        "inputs": [{"id": "where", "type": "promptString", "description": "?", "default": "here"}, {"id": "key", "type": "promptString"}],
        "servers": {"a": {"type": "stdio", "command": "${env:TOKEN}", "args": ["${input:where}", "--key=${TOKEN}"]}}
    }"#);
    assert_eq!(checked.findings, []);
    let config = checked.config.expect("it is fine");
    let Place::Child { program, args, masked, .. } = &config.servers[0].place else { panic!("a child") };
    assert_eq!((program.as_str(), args[0].as_str(), args[1].as_str()), ("s3cret", "here", "--key=s3cret"));
    assert_eq!(masked["TOKEN"], "s3cret");
    let asks = of(r#"{"inputs": [{"id": "key"}], "servers": {"a": {"command": "x", "args": ["${input:key}"]}}}"#);
    assert!(asks.findings.iter().any(|finding| finding.message.contains("\"default\"")), "{:?}", asks.findings);
}

#[test]
fn what_is_wrong_is_said_with_line_and_column() {
    let check = |text: &str, line: usize, column: usize, severity: Severity, word: &str| {
        let checked = of(text);
        assert_eq!(checked.findings.len(), 1, "{text}: {:?}", checked.findings);
        let finding = &checked.findings[0];
        assert_eq!((finding.at.line, finding.at.column), (line, column), "{finding}");
        assert_eq!(finding.severity, severity, "{finding}");
        assert!(finding.message.contains(word), "{finding}");
        assert_eq!(checked.config.is_none(), severity == Severity::Error, "{finding}");
    };
    let (warning, error) = (Severity::Warning, Severity::Error);
    check("{\n \"mcpServers\": {\n  \"a\": {\"comand\": \"x\", \"url\": \"http://h/\"}}}", 3, 9, warning, "comand");
    check(r#"{"mcpServers": {"a": {}}}"#, 1, 17, error, "neither");
    check(r#"{"mcpServers": {"a": {"command": "x", "url": "http://h/"}}}"#, 1, 46, error, "both");
    check(r#"{"mcpServers": {"a": {"command": 7}, "b": {"command": "x"}}}"#, 1, 34, error, "a text");
    check(r#"{"mcpServers": {"a": {"url": "ftp://h/"}}}"#, 1, 30, error, "http");
    check(r#"{"mcpServers": {"a": {"url": "http://u:p@h/"}}}"#, 1, 30, error, "password");
    check(r#"{"mcpServers": {"a": {"url": "http://h/${NOPE}"}}}"#, 1, 30, error, "NOPE");
    check(r#"{"mcpServers": {"a": {"type": "http", "command": "x"}}}"#, 1, 31, error, "type");
    check(r#"{"mcpServers": {"a b": {"command": "x"}, "a_b": {"command": "x"}}}"#, 1, 42, error, "same name");
    check(r#"{"mcpServers": {"a__b": {"command": "x"}, "a_b": {"command": "x"}}}"#, 1, 43, error, "same prefix");
    let given = |prefix: &str| format!(r#"{{"command": "x", "andon": {{"prefix": "{prefix}"}}}}"#);
    let both = |a: &str, b: &str| format!("{{\"mcpServers\": {{\"a\": {a},\n\"b\": {b}}}}}");
    check(&both(&given("x_"), &given("x_y_")), 2, 1, warning, "begin alike");
    check(&both(&given("b__"), r#"{"command": "x"}"#), 2, 1, warning, "begin alike");
    let renamed =
        |names: &str| format!(r#"{{"mcpServers": {{"a": {{"url": "http://h/", "andon": {{"rename": {names}}}}}}}}}"#);
    check(&renamed(r#"{"x/y": "bad name"}"#), 1, 71, error, "cannot be called that");
    check(&renamed(r#"{"x": "z", "y": ""}"#), 1, 79, error, "1 to 128");
    check(&renamed(r#"{"x": "z", "y": "z"}"#), 1, 79, error, "two tools");
    check(r#"{"mcpServers": {"a": {"command": "x", "andon": {"mode": "mine"}}}}"#, 1, 57, error, "shared, session");
    check(r#"{"mcpServers": {"a": {"command": "x", "andon": {"timeout_s": 0}}}}"#, 1, 62, error, "above 0");
    check(r#"{"mcpServers": {"a": {"command": "x", "andon": {"nope": 0}}}}"#, 1, 49, warning, "nope");
    check(r#"{"mcpServers": {"a": {"command": "x", "timeout": 60}}}"#, 1, 50, warning, "timeout_s");
    check(r#"{"mcpServers": {"a": {"command": "x", "andon": {"nope": 0}}}}"#, 1, 49, warning, "of the server \"a\"");
    check(
        r#"{"mcpServers": {"a": {"type": "stdio", "url": "http://h/"}}}"#,
        1,
        31,
        error,
        "\"a\" has \"type\": \"stdio\"",
    );
    let headed = |headers: &str| format!(r#"{{"mcpServers": {{"a": {{"url": "http://h/", "headers": {headers}}}}}}}"#);
    check(&headed(r#"{"X Y": "z"}"#), 1, 55, error, "\"X Y\" is no name");
    check(&headed(r#"{"X": "s3cret\nY: z"}"#), 1, 55, error, "newline");
    check(r#"{"mcpServers": {"a": {"command": "x", "env": {"A=B": "c"}}}}"#, 1, 47, error, "no name of a variable");
    check(r#"{"mcpServers": {"a": {"command": "x", "cwd": "/no/such"}}}"#, 1, 46, warning, "no folder");
    check(r#"{"mcpServers": {"a": {"command": "/no/such"}}}"#, 1, 34, warning, "no such program");
    check(r#"{"mcpServers": {"a": {"command": "/no/npx -y foo"}}}"#, 1, 34, warning, "\"args\"");
    check(r#"{"mcpServers": {"a": {"command": "x", "envFile": "/no/such"}}}"#, 1, 50, error, "envFile");
    check(r#"{"mcpServers": {"a": {"command": "x", "args": ["${workspaceFolder}"]}}}"#, 1, 48, error, "VS Code");
    check(r#"{"x": 1, "mcpServers": {"a": {"command": "sh"}}}"#, 1, 2, warning, "x");
    check("{}", 1, 1, error, "no servers");
    check("{\"mcpServers\": {}}", 1, 1, warning, "no servers");
    check("{\"mcpServers\": {\"a\": {\"command\": \"sh\", \"disabled\": true}}}", 1, 1, warning, "disabled");
    check("[]", 1, 1, error, "an object");
    check("{", 1, 2, error, "expected");
}

#[test]
fn own_settings_may_be_in_a_file_of_their_own() {
    let files = r#"{"mcpServers": {"a": {"command": "x"}, "b": {"command": "x"}}}"#;
    let own = r#"{"in_flight_max": 3, "servers": {"b": {"in_flight_max": 9}, "c": {}}}"#;
    let checked = check((Path::new("mcp.json"), files), Some((Path::new("andon.json"), own)), &|_| None);
    let config = checked.config.expect("it is fine");
    let most: Vec<usize> = config.servers.iter().map(|server| server.settings.in_flight_max).collect();
    assert_eq!(most, [3, 9]);
    assert_eq!(checked.findings.len(), 1);
    let said = checked.findings[0].to_string();
    assert!(said.starts_with("andon.json:1:61: warning: there are settings for \"c\""), "{said}");
}

#[test]
fn own_settings_may_be_toml() {
    let files = r#"{"mcpServers": {"a": {"command": "x"}, "b": {"command": "x"}}}"#;
    let of = |own: &str| check((Path::new("mcp.json"), files), Some((Path::new("andon.TOML"), own)), &|_| None);
    let own = "in_flight_max = 3\n\n[servers.b]\nin_flight_max = 9\ntimeout_s = 1.5\ntools.deny = [\"write*\"]\n";
    let checked = of(own);
    assert_eq!(checked.findings, []);
    let config = checked.config.expect("it is fine");
    let most: Vec<usize> = config.servers.iter().map(|server| server.settings.in_flight_max).collect();
    assert_eq!(most, [3, 9]);
    assert_eq!(config.servers[1].settings.timeout, Duration::from_millis(1500));
    assert!(!config.servers[1].settings.tools.permit("write_file"));
    for (own, finding) in [
        ("# a\n\ntimeout_s = 0", "andon.TOML:3:13: error: \"timeout_s\" is a number above 0"),
        ("[servers.a]\nnope = 1", "andon.TOML:2:1: warning: "),
        ("[servers.a]\n  mode = mine", "andon.TOML:2:10: error: "),
        ("[servers.c]\nmode = 'shared'", "andon.TOML:1:10: warning: there are settings for \"c\""),
        ("servers = 7", "andon.TOML:1:11: error: \"servers\" is an object"),
    ] {
        let findings = of(own).findings;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].to_string().starts_with(finding), "{}", findings[0]);
    }
}

#[test]
fn secrets_are_in_no_finding() {
    let checked =
        of(r#"{"mcpServers": {"a": {"url": "nope ${TOKEN}", "headers": {"X": "${TOKEN} ${NO}"}, "env": 7}}}"#);
    assert!(checked.findings.len() >= 3);
    for finding in checked.findings {
        assert!(!finding.to_string().contains("s3cret"), "{finding}");
    }
}

#[test]
fn what_is_wrong_about_one_server_leaves_the_others_sound() {
    let checked = of(r#"{"mcpServers": {"a": {"command": "${NOPE}"}, "b": {"command": "x"}}}"#);
    assert!(checked.config.is_none());
    let sound = checked.sound.expect("the file itself is fine");
    assert_eq!(sound.servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(sound.named, 2, "clients call nothing otherwise when it is mended");
    let off = of(r#"{"mcpServers": {"a": {"command": "${NOPE}", "disabled": true}, "b": {"command": "x"}}}"#);
    assert_eq!(off.sound.expect("the file itself is fine").named, 1);
    for whole in [r#"{"andon": {"timeout_s": 0}, "mcpServers": {"b": {"command": "x"}}}"#, "{}", "{"] {
        assert!(of(whole).sound.is_none(), "{whole}");
    }
}

#[test]
fn variables_may_be_in_a_file_and_env_is_stronger() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(".env");
    std::fs::write(&file, "# mine\n\nA=1\nexport B = \"two words\"\nC='='\n").expect("it can be written");
    let text = serde_json::json!({ "mcpServers": { "a": { "command": "x", "envFile": file, "env": { "A": "2" } } } });
    let checked = of(&text.to_string());
    assert_eq!(checked.findings, []);
    let config = checked.config.expect("it is fine");
    let Place::Child { env, .. } = &config.servers[0].place else { panic!("a child") };
    let known: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(known, [("A", "2"), ("B", "two words"), ("C", "=")]);
    std::fs::write(&file, "A=1\nsecret").expect("it can be written");
    let said = of(&text.to_string()).findings[0].to_string();
    assert!(said.contains("line 2") && !said.contains("secret"), "{said}");
}
