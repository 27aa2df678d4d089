//! The states of a worker.

/// Where a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// Made, not started.
    Idle,
    /// Reaching the services.
    Starting,
    /// Waiting for the consumer group.
    Joining,
    /// Consuming.
    Running,
    /// Stopping: no new jobs, running nodes finish.
    Draining,
    /// Ended in order.
    Closed,
    /// Ended by an error.
    Failed,
}

impl Lifecycle {
    /// The name JavaScript sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Joining => "joining",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Closed => "closed",
            Self::Failed => "failed",
        }
    }

    /// Whether the move is legal; ends are final.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Idle, Self::Starting)
                | (Self::Starting, Self::Joining | Self::Failed | Self::Closed | Self::Draining)
                | (Self::Joining, Self::Running | Self::Failed | Self::Draining)
                | (Self::Running, Self::Draining | Self::Failed)
                | (Self::Draining, Self::Closed | Self::Failed)
        )
    }
}
