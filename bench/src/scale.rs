//! Many clients on real sockets: load from several processes and source addresses, and what it takes of a server.
//!
//! A program starts a [`fleet::Fleet`] of generators, which are itself with other arguments, since one process may open
//! 20,000 files on many machines. It gives them [`order::Order`]s and gathers their [`order::Reply`]s.

pub mod callers;
pub mod figures;
pub mod fleet;
pub mod generator;
pub mod holders;
pub mod order;
pub mod resisters;
pub mod usage;

mod connect;
mod line;
mod series;

pub use connect::{Control, Looks, epoch_us, watch_health};
pub use line::Line;
pub use series::{Slope, slope};
