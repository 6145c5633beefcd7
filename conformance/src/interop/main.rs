//! Our client against other people's servers: `interop-client WHOSE [--protocol DATE] URL|-- COMMAND...`. Ends with a
//! failure at the first thing that does not work.

mod checks;

use std::process::ExitCode;

use andon::client::{Command, Target};
use andon::types::revision::Revision;

#[tokio::main]
async fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let whose = words.next().unwrap_or_default();
    let mut revision = None;
    let mut target = None;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--protocol" => revision = words.next().and_then(|date| Revision::parse(&date)),
            "--" => {
                let Some(program) = words.next() else { break };
                target = Some(Target::from(Command::new(program).args(words.by_ref())));
            }
            url => target = Some(Target::from(url)),
        }
    }
    let Some(target) = target else {
        eprintln!("usage: interop-client WHOSE [--protocol DATE] URL|-- COMMAND...");
        return ExitCode::from(2);
    };
    match checks::run(&whose, target, revision).await {
        Ok(done) => {
            println!("{whose}: {done}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{whose}: {why}");
            ExitCode::FAILURE
        }
    }
}
