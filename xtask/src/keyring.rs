//! The tests that need a keyring: a bus and a keyring of their own, in a folder of their own.

use std::path::Path;
use std::process::Command;

use crate::tools::{debian, finish, target};
use crate::{Outcome, build, tests};

/// Program and Debian package.
const NEEDED: [(&str, &str); 3] = [
    ("dbus-run-session", "dbus-daemon"),
    ("gnome-keyring-daemon", "gnome-keyring"),
    ("secret-tool", "libsecret-tools"),
];
/// Unlocked by a password that nobody types, then the tests.
const SCRIPT: &str =
    r#"printf %s andon | gnome-keyring-daemon --unlock --components=secrets > "$HOME/daemon.txt" && exec "$0""#;

pub(crate) fn run() -> Outcome {
    if !cfg!(target_os = "linux") {
        println!("only the keyring of Linux can be started for a test: elsewhere it is a person's own");
        return Ok(());
    }
    debian(&NEEDED)?;
    let home = target().join("keyring");
    // What an earlier run kept would be unlocked by its own password.
    drop(std::fs::remove_dir_all(&home));
    let run = home.join("run");
    std::fs::create_dir_all(&run).map_err(|error| format!("{}: {error}", run.display()))?;
    private(&run)?;
    let test = build::tests()?
        .into_iter()
        .find(|test| test.name == tests::KEYRING)
        .ok_or("the tests of the keyring are not built")?;
    let mut command = Command::new("dbus-run-session");
    command.args(["--", "sh", "-c", SCRIPT]).arg(&test.program).current_dir(&test.folder);
    command.env("HOME", &home).env("XDG_DATA_HOME", home.join("data")).env("XDG_RUNTIME_DIR", &run);
    finish(command)
}

#[cfg(unix)]
fn private(folder: &Path) -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    let only_mine = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(folder, only_mine).map_err(|error| format!("{}: {error}", folder.display()))
}

#[cfg(not(unix))]
fn private(_folder: &Path) -> Outcome {
    Ok(())
}
