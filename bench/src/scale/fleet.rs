//! Generators as processes of their own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::order::{Order, Reply};
use crate::machine::Cores;
use crate::{Error, child};

/// The argument that makes a program a generator: it then calls [`super::generator::run`].
pub const GENERATE: &str = "generate";

/// Generators that wait for orders. They are killed when this is dropped.
pub struct Fleet {
    members: Vec<Member>,
}

struct Member {
    child: Child,
    orders: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Fleet {
    /// Starts `size` generators on the generator's cores. They are this very program.
    ///
    /// # Errors
    /// One does not start.
    pub fn start(size: usize, cores: &Cores) -> Result<Self, Error> {
        let cores = Cores { server: cores.generator.clone(), generator: Vec::new() };
        let start = || {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(GENERATE).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = child::spawn(command, &cores)?;
            let (orders, replies) = (child.stdin.take(), child.stdout.take());
            let (orders, replies) = (orders.ok_or("no stdin")?, BufReader::new(replies.ok_or("no stdout")?));
            Ok::<_, Error>(Member { child, orders, replies })
        };
        Ok(Self { members: (0..size).map(|_| start()).collect::<Result<_, _>>()? })
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// Gives each its order, made from its number, and does not wait.
    ///
    /// # Errors
    /// One has ended.
    pub fn send(&mut self, order: impl Fn(usize) -> Order) -> Result<(), Error> {
        for (number, member) in self.members.iter_mut().enumerate() {
            let mut line = serde_json::to_vec(&order(number))?;
            line.push(b'\n');
            member.orders.write_all(&line)?;
        }
        Ok(())
    }

    /// Waits until all have done what they were asked for.
    ///
    /// # Errors
    /// One has ended.
    pub fn receive(&mut self) -> Result<Reply, Error> {
        let mut replies = Vec::new();
        for member in &mut self.members {
            let mut line = String::new();
            member.replies.read_line(&mut line)?;
            replies.push(serde_json::from_str(&line).map_err(|_| "a generator has ended; see above")?);
        }
        Ok(Reply::sum(replies))
    }

    /// Gives each its order and waits until all have done it.
    ///
    /// # Errors
    /// One has ended.
    pub fn order(&mut self, order: impl Fn(usize) -> Order) -> Result<Reply, Error> {
        self.send(order)?;
        self.receive()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for member in &mut self.members {
            // An error means that it has ended already.
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }
}

/// A loopback address for each part of the load: each has ports of its own.
pub fn source(part: u8, number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1 + part, 1 + u8::try_from(number % 250).unwrap_or(0))
}

/// The share of `whole` that the one of `size` with this `number` has.
pub fn share(whole: usize, size: usize, number: usize) -> usize {
    whole / size + usize::from(number < whole % size)
}
