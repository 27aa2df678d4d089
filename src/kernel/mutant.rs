//! Deliberate faults, to find out whether the tests would notice them (`__test__/mutants/README.md`).
//!
//! Without the Cargo feature `mutants` no fault can be chosen, and the compiler leaves nothing of the questions. With it
//! the environment variable `FLOWCRAFT_MUTANT` names the one fault that the process has; none where it is absent.

// An optimised build without debug assertions is one that somebody may ship.
#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("the feature `mutants` puts faults into the engine: it is for tests alone. Build with `--profile mutants`, or leave the feature out");

macro_rules! mutants {
    ($($(#[doc = $doc:expr])+ $variant:ident = $name:literal,)+) => {
        /// A fault. `run.mjs` reads the names from here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        // Who leaves out the engine or a backend leaves out its questions.
        #[cfg_attr(not(all(feature = "kafka", feature = "cassandra")), allow(dead_code))]
        pub(crate) enum Mutant {
            $($(#[doc = $doc])+ $variant,)+
        }

        #[cfg(feature = "mutants")]
        impl Mutant {
            fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

mutants! {
    /// A message that was delivered before counts as new.
    RepeatsAreNew = "repeats-are-new",
    /// The committed position is the highest complete offset, whatever lies open below.
    CommitOverGap = "commit-over-gap",
    /// A step counts as recorded when its write is sent.
    RecordBeforeWrite = "record-before-write",
    /// The status is published when the write of its step is sent.
    PublishBeforeWrite = "publish-before-write",
    /// Successors start here when the write of their step is sent.
    StartBeforeWrite = "start-before-write",
    /// Successors go to the topic when the write of their step is sent.
    SendBeforeWrite = "send-before-write",
    /// A write of a run does not wait for the one before.
    WritesOverlap = "writes-overlap",
    /// A successor that starts here does not hold the message that brought it about.
    ForgetAnchors = "forget-anchors",
    /// Write times are those of the wall clock, whatever the lease allows.
    IgnoreWindow = "ignore-window",
    /// Write times do not go above what the store has.
    ClockGoesBack = "clock-goes-back",
    /// Commands that a run has not applied when it awaits are gone.
    ForgetCommands = "forget-commands",
    /// Where one message is taken after the other, a command waits for its turn as well.
    CommandsQueue = "commands-queue",
    /// What somebody else has written replaces changes of ours that are on their way.
    ForeignOverwrites = "foreign-overwrites",
    /// Timers of a step that joins another one's write are gone.
    DropJoinedTimers = "drop-joined-timers",
    /// A run that is being given up is closed while its nodes run.
    CloseAtDrain = "close-at-drain",
    /// A run is opened however many owners it was the death of.
    NeverPoisonous = "never-poisonous",
    /// An old message of a run that was deleted starts it anew.
    StartDeleted = "start-deleted",
    /// A message that moves to its home partition is as old as its copy.
    YoungAtHome = "young-at-home",
    /// A run is deleted although it was written to since it ended.
    DeleteWhatGoesOn = "delete-what-goes-on",
    /// A lease is taken while its holder renews it.
    TakeHeldLease = "take-held-lease",
    /// A partition that is to move is given up at once, whatever runs on it.
    RevokeAtOnce = "revoke-at-once",
    /// A stop does not wait for running nodes.
    StopAtOnce = "stop-at-once",
    /// Positions whose commit has failed are not committed again.
    CommitOnce = "commit-once",
    /// Steps and outcomes that could not be written together count as written.
    GroupIsWritten = "group-is-written",
    /// A message that could not be sent is not sent again.
    SendOnce = "send-once",
    /// What a store refused for a moment is not tried again.
    PersistOnce = "persist-once",
    /// A status row that could not be written is given up.
    PublishOnce = "publish-once",
    /// A lease is not renewed.
    NeverRenew = "never-renew",
    /// Leases are not given back.
    KeepLeases = "keep-leases",
    /// A JavaScript thread that does not answer is not noticed.
    DeafToStalls = "deaf-to-stalls",
    /// Writes of contexts carry the time at which they are sent instead of their own.
    WriteNow = "write-now",
    /// A partition without a committed position is read before it has one.
    StartUncommitted = "start-uncommitted",
}

/// Whether the process has this fault: never, without the feature.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn mutant(_: Mutant) -> bool {
    false
}

/// Whether the process has this fault.
#[cfg(feature = "mutants")]
#[allow(clippy::panic)]
pub(crate) fn mutant(fault: Mutant) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let name = std::env::var("FLOWCRAFT_MUTANT").ok().filter(|name| !name.is_empty())?;
        // A name that nobody knows would make a run without any fault look like a survivor.
        Some(Mutant::named(&name).unwrap_or_else(|| panic!("FLOWCRAFT_MUTANT: there is no fault \"{name}\"")))
    });
    *chosen == Some(fault)
}
