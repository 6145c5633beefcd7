//! Echo calls over standard input and output: as many at once as the client sends before it reads.

use std::process::Stdio;

use andon_bench::figure::Sample;
use andon_bench::lines::{self, Drive};
use andon_bench::{Error, child, machine};
use tokio::process::{ChildStdin, ChildStdout};

use super::{Sizes, Turn};

/// Starts the server as a child and calls it.
pub(super) async fn measure(turn: &Turn, sizes: &Sizes, cores: &machine::Cores) -> Result<Sample, Error> {
    let mut command = turn.peer.stdio_command()?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = child::spawn(command, cores)?;
    let pid = child.id();
    let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipes to the server")?;
    let settings = Drive {
        era: turn.era,
        window: turn.connections,
        warm_up: sizes.warm_up.max(turn.peer.warm_up()),
        time: sizes.window,
    };
    let (output, input) = (ChildStdout::from_std(output)?, ChildStdin::from_std(input)?);
    let measured = lines::drive(output, input, settings, pid).await;
    child::end(&mut child);
    Ok(super::rates(&measured?))
}
