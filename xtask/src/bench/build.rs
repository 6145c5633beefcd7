//! Release builds of other revisions, each in a work tree of its own below `target`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::tools::{finish, root, target};

/// Where the programs of one revision are.
pub(super) struct Build {
    programs: PathBuf,
}

impl Build {
    /// The tree as it is.
    pub(super) fn here() -> Result<Self, String> {
        build(&root(), &target())
    }

    /// Another revision.
    pub(super) fn of(rev: &str) -> Result<Self, String> {
        Self::in_tree(&worktree(rev)?)
    }

    /// What stands in the work tree `tree`. All of them share what they are built from.
    pub(super) fn in_tree(tree: &Path) -> Result<Self, String> {
        const PROGRAMS: [&str; 3] = ["andon", "andon-bench", "paths"];
        let place = target().join("compare").join("build");
        let kept = tree.join("programs");
        drop(std::fs::remove_dir_all(&kept));
        std::fs::create_dir_all(&kept).map_err(|error| format!("{}: {error}", kept.display()))?;
        // An older revision may lack a program, and must not be given that of another.
        PROGRAMS.iter().for_each(|name| drop(std::fs::remove_file(place.join("release").join(name))));
        let built = build(tree, &place)?;
        for name in PROGRAMS {
            // The next revision is built in the same place.
            match std::fs::copy(built.program(name), kept.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(format!("{name}: {error}")),
                _ => {}
            }
        }
        Ok(Self { programs: kept })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}

/// A work tree with `rev` checked out.
pub(super) fn worktree(rev: &str) -> Result<PathBuf, String> {
    let commit = super::commit(rev)?;
    let tree = target().join("compare").join(&commit[..12.min(commit.len())]);
    let mut command = Command::new("git");
    if tree.join(".git").exists() {
        command.args(["checkout", "--quiet", "--detach", &commit]).current_dir(&tree);
    } else {
        command.args(["worktree", "add", "--quiet", "--force", "--detach"]).arg(&tree).arg(&commit).current_dir(root());
    }
    finish(command)?;
    Ok(tree)
}

fn build(tree: &Path, target: &Path) -> Result<Build, String> {
    let cargo = |words: &[&str]| -> Outcome {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["build", "--release", "--quiet"]).args(words).current_dir(tree).env("CARGO_TARGET_DIR", target);
        finish(command)
    };
    // Apart: built together, one would get the features that the other asks of a dependency.
    cargo(&["--package", "andon-cli"])?;
    cargo(&["--package", "andon-bench"])?;
    Ok(Build { programs: target.join("release") })
}
