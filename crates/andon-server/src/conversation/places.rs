//! Where what a machine says goes, stream by stream.

use andon_core::io::StreamId;

use crate::host::Host;
use crate::outlet::{Held, Outlet};
use crate::work::Work;

/// Where what is said on a stream goes.
pub(crate) enum Place {
    /// To whoever sent a request and stands by until its handler waits: what was said so far, and the handler. Most handlers do
    /// not wait, and their answers need no outlet.
    StandBy(Option<Early>, Option<Work>),
    /// To a connection.
    Outlet(Outlet),
}

/// What was said to whoever stood by.
pub(crate) enum Early {
    /// One message, which is the whole answer.
    Whole(Held),
    /// Something else or nothing, and there may be more.
    More(Outlet),
}

impl Place {
    /// For whoever is about to send a request.
    pub(crate) fn stand_by() -> Self {
        Self::StandBy(None, None)
    }

    /// The outlet, which is made now if there is none. After a whole answer nothing follows, and none is made.
    fn outlet(&mut self, host: &Host) -> Option<&Outlet> {
        if let Self::StandBy(early @ None, _) = self {
            *early = Some(Early::More(host.outlet()));
        }
        self.known()
    }

    fn known(&self) -> Option<&Outlet> {
        match self {
            Self::Outlet(outlet) | Self::StandBy(Some(Early::More(outlet)), _) => Some(outlet),
            Self::StandBy(None | Some(Early::Whole(_)), _) => None,
        }
    }
}

/// The places of one machine. Whoever stands by keeps the place until what was said there is taken.
#[derive(Default)]
pub(super) struct Places(Vec<(StreamId, Place)>);

impl Places {
    /// Puts `place` where another one may be, which ends.
    pub(super) fn put(&mut self, stream: StreamId, place: Place) {
        if let Some(index) = self.find(stream)
            && let Some(outlet) = self.0.swap_remove(index).1.known()
        {
            outlet.close();
        }
        // Most conversations have one at a time.
        self.0.reserve_exact(usize::from(self.0.is_empty()));
        self.0.push((stream, place));
    }

    pub(super) fn has(&self, stream: StreamId) -> bool {
        self.find(stream).is_some()
    }

    /// Where what is said on `stream` waits for its connection.
    pub(super) fn outlet(&self, stream: StreamId) -> Option<&Outlet> {
        self.0[self.find(stream)?].1.known()
    }

    /// Takes the place of `stream` away if it is `outlet`. Whether it was.
    pub(super) fn remove_same(&mut self, stream: StreamId, outlet: &Outlet) -> bool {
        let is_same = |place: &Place| matches!(place, Place::Outlet(known) if known.is_same(outlet));
        let found = self.find(stream).filter(|index| is_same(&self.0[*index].1));
        found.map(|index| self.0.swap_remove(index)).is_some()
    }

    /// Says `held` on `stream`; to nobody if it has no place.
    pub(super) fn send(&mut self, host: &Host, stream: StreamId, held: Held) {
        let Some(index) = self.find(stream) else { return };
        let (place, last) = (&mut self.0[index].1, held.frame.last);
        match place {
            Place::StandBy(early @ None, _) if last && held.frame.text.is_some() => *early = Some(Early::Whole(held)),
            place => {
                if let Some(outlet) = place.outlet(host) {
                    outlet.send(held.frame, held.until);
                }
                if last {
                    self.is_over(index);
                }
            }
        }
    }

    /// Nothing more comes on `stream`.
    pub(super) fn close(&mut self, host: &Host, stream: StreamId) {
        let Some(index) = self.find(stream) else { return };
        if let Some(outlet) = self.0[index].1.outlet(host) {
            outlet.close();
        }
        self.is_over(index);
    }

    /// All streams go on, but not here.
    pub(super) fn leave(&mut self, host: &Host) {
        for (_, place) in &mut self.0 {
            if let Some(outlet) = place.outlet(host) {
                outlet.leave();
            }
        }
        self.0.retain(|(_, place)| matches!(place, Place::StandBy(..)));
    }

    /// Leaves `work` to whoever stands by on `stream`. It is given back if nobody does, or they have one already.
    pub(super) fn carry(&mut self, stream: StreamId, work: Work) -> Option<Work> {
        let place = self.find(stream).map(|index| &mut self.0[index].1);
        match place {
            Some(Place::StandBy(_, place @ None)) => {
                *place = Some(work);
                None
            }
            _ => Some(work),
        }
    }

    /// What was said to whoever stands by on `stream`, and the handler that goes on if that waits; what follows goes to the outlet.
    /// `None` if another connection has the place now.
    pub(super) fn early(&mut self, host: &Host, stream: StreamId) -> Option<(Early, Option<Work>)> {
        let index = self.find(stream)?;
        let Place::StandBy(early, work) = &mut self.0[index].1 else { return None };
        let work = work.take();
        let early = match early.take() {
            Some(Early::Whole(held)) => {
                self.0.swap_remove(index);
                Early::Whole(held)
            }
            more => {
                let outlet = if let Some(Early::More(outlet)) = more { outlet } else { host.outlet() };
                if outlet.is_closed() {
                    self.0.swap_remove(index);
                } else {
                    self.0[index].1 = Place::Outlet(outlet.clone());
                }
                Early::More(outlet)
            }
        };
        Some((early, work))
    }

    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    fn is_over(&mut self, index: usize) {
        if matches!(self.0[index].1, Place::Outlet(_)) {
            self.0.swap_remove(index);
        }
    }

    fn find(&self, stream: StreamId) -> Option<usize> {
        self.0.iter().position(|(known, _)| *known == stream)
    }
}

#[cfg(test)]
mod tests;
