//! The protocol's decisions as pure state machines: no sockets, no clock, no randomness.
