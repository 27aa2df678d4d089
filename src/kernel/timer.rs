//! Durable timers: what wakes a node that sleeps or a visit that waits for its next attempt (D5).
//!
//! A timer is a row, durable before the step that parks its run. The owner of the run's home partition
//! sends a wake-up command when it is due, and deletes the row once the command is applied or found to
//! change nothing. So a timer fires at least once, and the run decides whether that still means anything.

use serde::{Deserialize, Serialize};

/// Timers of one hour share a storage partition.
const BUCKET_MS: i64 = 3_600_000;

/// The storage partition, within a shard, of runs that wait for another version of their blueprint. They are due when a
/// worker that has it owns the shard, whenever that is.
pub const PARKED_BUCKET: i64 = -2;

/// One timer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// When it is due, milliseconds since the epoch.
    pub due_ms: i64,
    /// Home partition of the run when the timer was made.
    pub shard: i32,
    /// Storage partition within the shard, see [`bucket_of`].
    pub bucket: i64,
    /// Run id.
    pub run: String,
    /// Node id.
    pub node: String,
    /// Number of the visit that it wakes.
    pub visit: u32,
}

/// What a session asks for: node, visit and time due in milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Alarm(pub String, pub u32, pub i64);

/// What a session asks for when it parks its run: the blueprint and the version that it waits for, as one text, and when
/// it was parked, in milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Parking(pub String, pub i64);

/// The hour of a moment, counted from the epoch.
#[must_use]
pub fn bucket_of(ms: i64) -> i64 {
    ms.div_euclid(BUCKET_MS)
}

// The wake-up as it stands in a message. `id` is what makes a second one of the same timer a repeat.
#[derive(Serialize, Deserialize)]
struct Wake<'a> {
    id: String,
    kind: &'a str,
    #[serde(rename = "nodeId")]
    node: String,
    visit: u32,
    at: i64,
    bucket: i64,
    shard: i32,
}

const KIND: &str = "wake";

impl Timer {
    /// A timer of a run. One that is due already lies in the present hour: the past ones are not looked at again.
    #[must_use]
    pub fn new(shard: i32, run: &str, Alarm(node, visit, due_ms): Alarm, now_ms: i64) -> Self {
        Self { due_ms, shard, bucket: bucket_of(due_ms.max(now_ms)), run: run.to_owned(), node, visit }
    }

    /// A run that waits for a version of its blueprint.
    #[must_use]
    pub fn parked(shard: i32, run: &str, Parking(version, since_ms): Parking) -> Self {
        Self { due_ms: since_ms, shard, bucket: PARKED_BUCKET, run: run.to_owned(), node: version, visit: 0 }
    }

    /// Whether it waits for a version instead of a time.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.bucket == PARKED_BUCKET
    }

    /// The command that it sends when it is due.
    #[must_use]
    pub fn wake(&self) -> String {
        let wake = Wake {
            id: format!("wake:{}:{}:{}", self.node, self.visit, self.due_ms),
            kind: KIND,
            node: self.node.clone(),
            visit: self.visit,
            at: self.due_ms,
            bucket: self.bucket,
            shard: self.shard,
        };
        serde_json::to_string(&wake).unwrap_or_default()
    }

    /// The timer behind a command, if it is a wake-up.
    #[must_use]
    pub fn behind(run: &str, command: &str) -> Option<Self> {
        let wake: Wake<'_> = serde_json::from_str(command).ok()?;
        let Wake { kind, node, visit, at, bucket, shard, .. } = wake;
        (kind == KIND).then(|| Self { due_ms: at, shard, bucket, run: run.to_owned(), node, visit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_names_its_timer() {
        let timer = Timer::new(3, "r\"1", Alarm("nöde".into(), 7, 10 * BUCKET_MS + 5), 0);
        assert_eq!(timer.bucket, 10);
        assert_eq!(Timer::behind("r\"1", &timer.wake()), Some(timer));
        assert_eq!(Timer::behind("r", r#"{"id":"1","kind":"cancel"}"#), None);
    }

    #[test]
    fn a_parked_run_is_told_by_its_version_and_since_when() {
        let timer = Timer::parked(2, "r", Parking(r#"["bp","1"]"#.into(), 5));
        assert!(timer.is_parked());
        assert_eq!(Timer::behind("r", &timer.wake()), Some(timer));
    }

    #[test]
    fn what_is_due_already_lies_in_the_present_hour() {
        assert_eq!(Timer::new(0, "r", Alarm("n".into(), 1, 5), 7 * BUCKET_MS).bucket, 7);
    }
}
