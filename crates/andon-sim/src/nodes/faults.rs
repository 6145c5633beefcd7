//! What goes wrong, and when it is over.

use super::wire::Wire;
use super::{Event, START, World, client};

impl World {
    /// Something goes wrong, or something changes.
    pub(super) fn fault(&mut self) {
        if self.is_settling {
            return;
        }
        let node = self.rng.usize(..self.nodes.len());
        match self.rng.u32(..10) {
            0..=3 if self.nodes[node].is_up => self.nodes[node].fuel = Some(self.rng.u32(1..12)),
            4 if !self.store.is_away => {
                self.store.is_away = true;
                self.tally.outages += 1;
                self.note(|| "!!! the store is away".to_owned());
                let at = self.soon(1_500);
                self.later(at, Event::StoreBack);
            }
            5 | 6 if self.nodes.len() > 1 => {
                let until = self.soon(4_000);
                self.nodes[node].sleeps_until = until;
                self.note(|| format!("!!! node {node} sleeps until {}", until - START));
            }
            _ => {
                let uri = client::URIS[self.rng.usize(..client::URIS.len())];
                self.change(uri);
            }
        }
        let at = self.soon(700);
        self.later(at, Event::Fault);
    }

    /// A resource changes, and all nodes hear of it.
    pub(super) fn change(&mut self, uri: &'static str) {
        self.note(|| format!("!!! {uri} changes"));
        let now = self.now.0;
        self.clients.iter_mut().for_each(|client| client.change(now, uri));
        for node in 0..self.nodes.len() {
            self.later(now, Event::Change(node, uri));
        }
    }

    /// The last fault is over.
    pub(super) fn heal(&mut self) {
        self.note(|| "!!! all faults are over".to_owned());
        self.is_settling = true;
        self.store.is_away = false;
        for node in &mut self.nodes {
            (node.fuel, node.sleeps_until) = (None, 0);
        }
        // No connection lasts for ever.
        let open = self.wires.iter().filter(|(_, link)| !link.is_cut).map(|(wire, _)| *wire);
        let open: Vec<Wire> = open.collect();
        open.into_iter().for_each(|wire| self.break_off(wire, true));
    }

    pub(super) fn fall(&mut self, node: usize) {
        self.tally.crashes += 1;
        self.crash(node);
        let at = self.soon(1_500);
        self.later(at, Event::Start(node));
    }
}
