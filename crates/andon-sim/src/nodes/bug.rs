//! Bugs that can be planted in the driver, to see that the checks find them.

/// What the driver does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Frames leave and handlers start before what they say is durable.
    SendBeforePersist,
    /// What is replayed waits for nothing, although it may be on its way to the store still.
    ReplayBeforePersist,
    /// Batches are written whatever state the record is in.
    NoFence,
    /// The events of a session are read before it is taken over.
    ReadBeforeFence,
    /// What a session says after another node took it is not held back.
    LostIsDurable,
    /// A replay begins one event too late.
    ReplayOffByOne,
    /// A replay begins with the event that the client named.
    ReplayOneTwice,
    /// A handler is started again when its entry had to be written again.
    DoubleExecution,
    /// What ran when a node died is not answered by the next.
    SilentCalls,
    /// 204 leaves before the deletion is durable.
    DeleteBeforePersist,
    /// 202 leaves before what was accepted is durable.
    AcceptBeforePersist,
    /// That a session is used is not written down.
    ForgottenUse,
    /// An outage is answered as if the session were gone.
    OutageIsGone,
    /// Subscriptions do not come back with their session.
    ForgottenSubscriptions,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 14] = [
        Self::SendBeforePersist,
        Self::ReplayBeforePersist,
        Self::NoFence,
        Self::ReadBeforeFence,
        Self::LostIsDurable,
        Self::ReplayOffByOne,
        Self::ReplayOneTwice,
        Self::DoubleExecution,
        Self::SilentCalls,
        Self::DeleteBeforePersist,
        Self::AcceptBeforePersist,
        Self::ForgottenUse,
        Self::OutageIsGone,
        Self::ForgottenSubscriptions,
    ];
}
