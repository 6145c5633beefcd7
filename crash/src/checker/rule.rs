//! What may be violated, by name.

use std::fmt;

/// A rule, each of which follows from one invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A session that was opened and not deleted is 404.
    SessionLost,
    /// A stream does not go on after an event id that was received from it.
    StreamLost,
    /// A task that was created is not known, or its result is not.
    TaskLost,
    /// After a subscription was acknowledged, a change was never announced.
    SubscriptionLost,
    /// After the level was acknowledged, a call logged nothing.
    LevelLost,
    /// After a cancellation was acknowledged, the call was executed though it cannot have begun to.
    CancelLost,
    /// An event of a stream is missing.
    Gap,
    /// An event came again on the same connection, or after the client said that it has it.
    Repeated,
    /// An event came after one that follows it.
    OutOfOrder,
    /// What belongs to one stream came on another.
    WrongStream,
    /// What belongs to one session came to another.
    WrongSession,
    /// A call was answered twice.
    TwoResponses,
    /// Something was answered or executed that nobody asked for.
    Unasked,
    /// A call that was acknowledged was never answered, or a task never over.
    Silence,
    /// A task was over, and then over in another way, or not over.
    TaskChanged,
    /// A request failed for no reason that there was.
    Unexplained,
    /// A call was executed twice.
    DoubleExecution,
    /// A call succeeded and its effect is not there.
    EffectLost,
    /// A call was refused and executed nevertheless.
    RefusedButExecuted,
    /// A session that was deleted answered.
    Resurrected,
    /// An event came again with other bytes.
    ChangedBytes,
    /// Progress did not grow.
    ProgressBack,
    /// Something about a call came after its answer.
    AfterResponse,
    /// Something was acknowledged while there was no process to do so.
    ServedWhileDown,
    /// The service was gone for longer than a restart may take, or without a fault.
    Outage,
    /// Something was outstanding for too long after all was whole again.
    Late,
    /// The history is too small to prove anything.
    Vacuous,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 27] = [
        Self::SessionLost,
        Self::StreamLost,
        Self::TaskLost,
        Self::SubscriptionLost,
        Self::LevelLost,
        Self::CancelLost,
        Self::Gap,
        Self::Repeated,
        Self::OutOfOrder,
        Self::WrongStream,
        Self::WrongSession,
        Self::TwoResponses,
        Self::Unasked,
        Self::Silence,
        Self::TaskChanged,
        Self::Unexplained,
        Self::DoubleExecution,
        Self::EffectLost,
        Self::RefusedButExecuted,
        Self::Resurrected,
        Self::ChangedBytes,
        Self::ProgressBack,
        Self::AfterResponse,
        Self::ServedWhileDown,
        Self::Outage,
        Self::Late,
        Self::Vacuous,
    ];

    /// The invariant that it is part of.
    pub fn invariant(self) -> &'static str {
        match self {
            Self::SessionLost
            | Self::StreamLost
            | Self::TaskLost
            | Self::SubscriptionLost
            | Self::LevelLost
            | Self::CancelLost => "I1",
            Self::Gap | Self::Repeated | Self::OutOfOrder => "I2",
            Self::WrongStream => "I3",
            Self::WrongSession => "I4",
            Self::TwoResponses | Self::Unasked | Self::Silence | Self::TaskChanged | Self::Unexplained => "I5",
            Self::DoubleExecution | Self::EffectLost | Self::RefusedButExecuted => "I6",
            Self::Resurrected => "I7",
            Self::ChangedBytes => "I8",
            Self::ProgressBack | Self::AfterResponse => "I9",
            Self::ServedWhileDown => "I10",
            Self::Outage => "I11",
            Self::Late => "I12",
            Self::Vacuous => "floor",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self:?}", self.invariant())
    }
}
