//! One generator: takes orders from its standard input, one after the other, and holds connections in between.

use std::io::{BufRead as _, Write as _};

use tokio::task::LocalSet;

use super::callers;
use super::holders::Holders;
use super::order::{Order, Reply};
use super::resisters::Resisters;
use crate::{Error, machine};

/// Takes orders until there are no more.
///
/// # Errors
/// There is no runtime, or what comes is no order.
pub fn run() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (orders, mut taken) = tokio::sync::mpsc::channel::<String>(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if orders.blocking_send(line).is_err() {
                return;
            }
        }
    });
    LocalSet::new().block_on(&runtime, async {
        let (mut holders, mut resisters) = (Holders::default(), Resisters::default());
        while let Some(line) = taken.recv().await {
            let reply = carry_out(serde_json::from_str(&line)?, &mut holders, &mut resisters).await;
            let mut line = serde_json::to_vec(&reply)?;
            line.push(b'\n');
            std::io::stdout().write_all(&line)?;
        }
        Ok(())
    })
}

async fn carry_out(order: Order, holders: &mut Holders, resisters: &mut Resisters) -> Reply {
    match order {
        Order::Hold(hold) => {
            // These are only there: on a machine that carries everybody, those whose calls are counted go first.
            if let Err(why) = machine::give_way() {
                return Reply { failed: 1, why: Some(why.to_string()), ..Reply::default() };
            }
            holders.hold(hold).await
        }
        Order::Arm => holders.arm(),
        Order::AwaitUpdates { count, timeout_ms } => holders.await_updates(count, timeout_ms).await,
        Order::Release => holders.release().await,
        Order::Call(load) => callers::call(load).await,
        Order::Abandon(abandon) => callers::abandon(abandon).await,
        Order::Churn(churn) => super::holders::churn(churn).await,
        Order::Resist(resist) => resisters.resist(resist).await,
        Order::Ease => resisters.ease().await,
    }
}
