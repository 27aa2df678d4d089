//! How long the rows of ended runs are kept, and what becomes of messages that are older.

use std::time::Duration;

use super::mutant::{Mutant, mutant};
use super::time::MICROS_PER_MS;

const MS_PER_SECOND: u64 = 1_000;

/// Whether a status is one that ended runs have. Runs that wait, rest or are parked go on, after however long.
#[must_use]
pub fn is_final(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "cancelled")
}

/// Whether a message is older than rows of ended runs become. One whose time nobody knows is not.
#[must_use]
pub fn is_outlived(sent_ms: Option<i64>, now_ms: i64, retention: Duration) -> bool {
    !mutant(Mutant::StartDeleted) && sent_ms.is_some_and(|sent| u128::try_from(now_ms.saturating_sub(sent)).is_ok_and(|age| age > retention.as_millis()))
}

/// Whether an old message of a run without a context is one of a run whose rows were deleted, by what its status row says. A deletion
/// that was cut off leaves that row.
#[must_use]
pub fn was_deleted(status: Option<&str>) -> bool {
    status.is_none_or(is_final)
}

/// The rows of a run, as far as they say whether it may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remains<'a> {
    /// What its status row says.
    pub status: Option<&'a str>,
    /// Milliseconds since the epoch.
    pub updated_at_ms: Option<i64>,
    /// Write time of the status.
    pub status_micros: Option<i64>,
    /// Latest write time of its context, where there is one.
    pub context_micros: Option<i64>,
}

impl Remains<'_> {
    /// Up to which write time everything of the run may be deleted: it ended before `before_ms`, and nothing was written since. The status is
    /// written with the time of the step that decided it (G4), so that a later write is one of somebody who goes on with the run.
    #[must_use]
    pub fn deletable(&self, before_ms: i64) -> Option<i64> {
        let ended = self.status.is_some_and(is_final) && self.updated_at_ms.is_some_and(|at| at < before_ms);
        self.status_micros.filter(|micros| ended && self.context_micros.is_none_or(|written| written <= *micros || mutant(Mutant::DeleteWhatGoesOn)))
    }

    /// Whether its status row alone makes it worth a closer look.
    #[must_use]
    pub fn has_ended(&self, before_ms: i64) -> bool {
        Remains { context_micros: None, ..*self }.deletable(before_ms).is_some()
    }
}

/// Milliseconds since the epoch before which a run must have ended.
#[must_use]
pub fn ended_before_ms(now_micros: i64, retention_seconds: u64) -> i64 {
    let retention_ms = i64::try_from(retention_seconds.saturating_mul(MS_PER_SECOND)).unwrap_or(i64::MAX);
    now_micros.div_euclid(MICROS_PER_MS).saturating_sub(retention_ms)
}

/// How long a topic keeps its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeps {
    /// So many milliseconds, at least.
    Ms(u64),
    /// Without end: by its retention, or because it is compacted.
    Always,
    /// It does not say, for this reason.
    Unknown(String),
}

impl Keeps {
    /// By the topic's `cleanup.policy` and `retention.ms`.
    #[must_use]
    pub fn read(policy: &str, retention_ms: &str) -> Self {
        let deletes = policy.split(',').any(|word| word.trim() == "delete");
        match retention_ms.parse::<i64>() {
            Ok(ms) if deletes => u64::try_from(ms).map_or(Self::Always, Self::Ms),
            Ok(_) => Self::Always,
            Err(_) => Self::Unknown(format!("retention.ms is \"{retention_ms}\"")),
        }
    }

    /// What an operator is told of a topic whose messages may outlive the rows of their runs; `None` where all is well.
    #[must_use]
    pub fn warning(&self, topic: &str, server: &str, retention: Duration) -> Option<String> {
        let seconds = retention.as_secs();
        let kept = match self {
            Self::Ms(ms) if u128::from(*ms) < retention.as_millis() => return None,
            Self::Ms(ms) => format!("topic \"{topic}\" keeps messages for {} s", ms / MS_PER_SECOND),
            Self::Always => format!("topic \"{topic}\" keeps messages for ever"),
            Self::Unknown(cause) => {
                return Some(format!(
                    "how long topic \"{topic}\" keeps its messages could not be found out ({cause}). It should be shorter than retentionSeconds, {seconds} s"
                ));
            }
        };
        let raise = match self {
            Self::Ms(ms) => format!("Set retentionSeconds to more than {}, or, where no message may wait that long, run", ms / MS_PER_SECOND),
            _ => "Where no message may wait that long, run".to_owned(),
        };
        let retention_ms = seconds.saturating_sub(1).saturating_mul(MS_PER_SECOND);
        Some(format!(
            "{kept}, rows of ended runs are kept for {seconds} s (retentionSeconds): messages that are read again after that go to the dead letters \
             (ERR_RUN_EXPIRED). {raise}: kafka-configs.sh --bootstrap-server {server} --alter --entity-type topics --entity-name {topic} \
             --add-config cleanup.policy=delete,retention.ms={retention_ms}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const ENDED: Remains<'static> =
        Remains { status: Some("completed"), updated_at_ms: Some(999), status_micros: Some(999_000), context_micros: Some(999_000) };

    #[test]
    fn a_message_is_outlived_when_it_is_older_than_rows_become() {
        let now = 10_000_000;
        for (sent, expected) in [
            (None, false),
            (Some(now), false),
            (Some(now - 3_600_000), false),
            (Some(now - 3_600_001), true),
            (Some(now + 5), false),
            (Some(i64::MIN), true),
            (Some(i64::MAX), false),
        ] {
            assert_eq!(is_outlived(sent, now, HOUR), expected, "{sent:?}");
        }
    }

    #[test]
    fn a_run_is_deleted_whole_or_not_at_all() {
        assert_eq!(ENDED.deletable(1_000), Some(999_000));
        let kept = [
            Remains { updated_at_ms: Some(1_000), ..ENDED },
            Remains { updated_at_ms: None, ..ENDED },
            Remains { status_micros: None, ..ENDED },
            Remains { context_micros: Some(999_001), ..ENDED },
            Remains { status: None, ..ENDED },
        ];
        for remains in kept {
            assert_eq!(remains.deletable(1_000), None, "{remains:?}");
        }
        // What a deletion left that was cut off.
        assert_eq!(Remains { context_micros: None, ..ENDED }.deletable(1_000), Some(999_000));
        assert!(Remains { context_micros: Some(999_001), ..ENDED }.has_ended(1_000), "the context is looked at later");
    }

    #[test]
    fn only_runs_that_have_ended_are_deleted() {
        for status in ["completed", "failed", "cancelled"] {
            assert!(Remains { status: Some(status), ..ENDED }.has_ended(1_000) && was_deleted(Some(status)), "{status}");
        }
        for status in ["running", "awaiting", "parked", "", "of a user"] {
            assert!(!Remains { status: Some(status), ..ENDED }.has_ended(1_000) && !was_deleted(Some(status)), "{status}");
        }
        assert!(was_deleted(None));
    }

    #[test]
    fn the_time_before_which_runs_have_ended_never_overflows() {
        assert_eq!(ended_before_ms(10_000_999, 3), 7_000);
        assert_eq!(ended_before_ms(10_000_999, u64::MAX), 10_000 - i64::MAX);
    }

    #[test]
    fn a_topic_says_how_long_it_keeps_its_messages() {
        for (policy, ms, expected) in [
            ("delete", "604800000", Keeps::Ms(604_800_000)),
            ("compact,delete", "1", Keeps::Ms(1)),
            ("delete", "-1", Keeps::Always),
            ("compact", "604800000", Keeps::Always),
            ("delete", "", Keeps::Unknown("retention.ms is \"\"".into())),
        ] {
            assert_eq!(Keeps::read(policy, ms), expected, "{policy} {ms}");
        }
    }

    #[test]
    fn an_operator_is_told_when_messages_may_outlive_the_rows() {
        let warning = |keeps: Keeps| keeps.warning("jobs", "kafka:9092", HOUR);
        assert_eq!(warning(Keeps::Ms(3_599_999)), None);
        let equal = warning(Keeps::Ms(3_600_000)).unwrap();
        assert!(equal.starts_with("topic \"jobs\" keeps messages for 3600 s, rows of ended runs are kept for 3600 s"), "{equal}");
        assert!(equal.contains("Set retentionSeconds to more than 3600") && equal.contains("retention.ms=3599000"), "{equal}");
        let always = warning(Keeps::Always).unwrap();
        assert!(always.contains("for ever") && !always.contains("Set retentionSeconds") && always.contains("cleanup.policy=delete"), "{always}");
        assert!(warning(Keeps::Unknown("no right".into())).unwrap().contains("(no right)"));
    }
}
