//! Old messages of runs of which nothing is stored any more: they start nothing (retention).

use super::{Action, Anchor, Machine, Now, Phase, WaitingMessage};
use crate::kernel::error::{Code, FlowError};
use crate::kernel::retention;

const REASON: &str = "Its message is older than the rows of ended runs are kept (retentionSeconds), and nothing is stored of the run. Replay the message to start \
                      it anew";

impl Machine {
    // Whether the jobs that wait for a run which has no row all came from a time of which no rows are left.
    pub(super) fn is_outlived(&self, handle: u32, now: Now) -> bool {
        let (Some(retention), Some(run)) = (self.config.retention, self.runs.get(&handle)) else { return false };
        let mut jobs = run.waiting.iter().filter(|waiting| waiting.command.is_none());
        jobs.all(|job| retention::is_outlived(self.sent_ms(&run.id, job), now.wall_ms(), retention))
    }

    // A job that JavaScript hands in is as old as the message that it was given for it.
    fn sent_ms(&self, run: &str, waiting: &WaitingMessage) -> Option<i64> {
        match (&waiting.message, waiting.anchor) {
            (Some(message), _) => message.timestamp_ms,
            (None, Anchor::Submitted(_)) => self.handed.values().filter(|(handed, _)| handed == run).filter_map(|(_, sent)| *sent).max(),
            (None, Anchor::Log { .. }) => None,
        }
    }

    /// What the status row of a run without a context says, `None` where it has none.
    pub fn status_found(&mut self, handle: u32, result: Result<Option<String>, FlowError>, now: Now) {
        if self.runs.get(&handle).is_none_or(|run| run.phase != Phase::Loading) {
            return;
        }
        match result {
            Err(error) => self.refuse(handle, error.code().as_str(), error.to_string(), None, now),
            // A younger message may have come meanwhile.
            Ok(status) if retention::was_deleted(status.as_deref()) && self.is_outlived(handle, now) => {
                self.refuse(handle, Code::RunExpired.as_str(), REASON.to_owned(), None, now);
            }
            Ok(_) => self.open(handle, None, now),
        }
    }

    // Before a run that has no row is begun: the action that finds out whether it had one.
    pub(super) fn doubt(&mut self, handle: u32, now: Now) -> bool {
        let is_doubtful = self.is_outlived(handle, now);
        if let Some(run) = self.runs.get(&handle).filter(|_| is_doubtful) {
            self.actions.push(Action::FindStatus { handle, run: run.id.clone() });
        }
        is_doubtful
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kernel::effects::{OutboundJob, RawMessage, StoredContext, ToSession};
    use crate::kernel::job::{self, Job};
    use crate::kernel::machine::{Config, VIRTUAL_PARTITION};
    use crate::kernel::timer::{Alarm, Timer};

    const HOUR: Duration = Duration::from_secs(3_600);
    const NOW: Now = Now { moment: crate::kernel::time::Moment(Duration::ZERO), wall_micros: 10_000_000_000 };
    const OLD: Option<i64> = Some(6_000_000);
    const YOUNG: Option<i64> = Some(9_000_000);

    fn message(offset: i64, sent: Option<i64>, command: Option<String>) -> RawMessage {
        let node = if command.is_some() { String::new() } else { "a".into() };
        let job = OutboundJob { run: "r".into(), blueprint: "bp".into(), node, command, ..OutboundJob::default() };
        RawMessage { offset, value: Some(job::encode(&job).into_bytes()), timestamp_ms: sent, ..RawMessage::default() }
    }

    fn machine(config: Config) -> Machine {
        let mut machine = Machine::new(config, 1);
        machine.assign(0);
        machine.activate(0, NOW);
        machine
    }

    fn keeping(retention: Option<Duration>) -> Machine {
        machine(Config { retention, ..Config::default() })
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Did {
        Load(u32),
        Status(u32),
        Open,
        Bury(u64, &'static str),
        Drop,
        Other,
    }

    fn did(machine: &mut Machine) -> Vec<Did> {
        let seen = |action| match action {
            Action::Load { handle, .. } => Did::Load(handle),
            Action::FindStatus { handle, .. } => Did::Status(handle),
            Action::Tell(ToSession::Open { existed: false, .. }) => Did::Open,
            Action::Bury { token, letter } => Did::Bury(token, letter.code),
            Action::DropTimer(_) => Did::Drop,
            _ => Did::Other,
        };
        machine.take_actions().into_iter().map(seen).collect()
    }

    // Brings messages whose run has no row, and says what follows of that.
    fn without_row(machine: &mut Machine, messages: Vec<RawMessage>) -> Vec<Did> {
        machine.messages(messages, NOW);
        let [Did::Load(handle)] = did(machine)[..] else { panic!("it is loaded") };
        machine.loaded(handle, Ok(None), NOW);
        did(machine)
    }

    #[test]
    fn an_old_message_of_a_run_that_is_gone_goes_to_the_dead_letters_and_completes() {
        for status in [None, Some("completed"), Some("cancelled")] {
            let mut machine = keeping(Some(HOUR));
            let [Did::Status(handle)] = without_row(&mut machine, vec![message(0, OLD, None)])[..] else { panic!("{status:?}") };
            machine.status_found(handle, Ok(status.map(str::to_owned)), NOW);
            let [Did::Bury(token, "ERR_RUN_EXPIRED")] = did(&mut machine)[..] else { panic!("{status:?}") };
            assert_eq!(machine.take_commits(), [(0, 0)]);
            machine.buried(token);
            assert_eq!(machine.take_commits(), [(0, 1)]);
        }
    }

    #[test]
    fn an_old_message_of_a_run_that_has_not_ended_begins_it() {
        for status in ["running", "awaiting", "parked"] {
            let mut machine = keeping(Some(HOUR));
            let [Did::Status(handle)] = without_row(&mut machine, vec![message(0, OLD, None)])[..] else { panic!("{status}") };
            machine.status_found(handle, Ok(Some(status.into())), NOW);
            assert_eq!(did(&mut machine), [Did::Open], "{status}");
        }
    }

    #[test]
    fn nobody_asks_for_a_status_where_a_message_is_young_or_retention_is_not_set() {
        for (retention, sent) in [(None, OLD), (Some(HOUR), YOUNG), (Some(HOUR), None)] {
            assert_eq!(without_row(&mut keeping(retention), vec![message(0, sent, None)]), [Did::Open], "{sent:?}");
        }
        assert_eq!(without_row(&mut keeping(Some(HOUR)), vec![message(0, OLD, None), message(1, YOUNG, None)]), [Did::Open]);
    }

    #[test]
    fn an_old_message_of_a_run_that_has_its_row_is_worked_on() {
        let mut machine = keeping(Some(HOUR));
        machine.messages(vec![message(0, OLD, None)], NOW);
        let [Did::Load(handle)] = did(&mut machine)[..] else { panic!("it is loaded") };
        machine.loaded(handle, Ok(Some(StoredContext::document(Some("{}".into()), Some(1)))), NOW);
        assert_eq!(did(&mut machine), [Did::Other], "a session opens it");
    }

    #[test]
    fn a_young_message_that_comes_while_the_status_is_looked_up_begins_the_run() {
        let mut machine = keeping(Some(HOUR));
        let [Did::Status(handle)] = without_row(&mut machine, vec![message(0, OLD, None)])[..] else { panic!("no question") };
        machine.messages(vec![message(1, YOUNG, None)], NOW);
        machine.status_found(handle, Ok(None), NOW);
        assert_eq!(did(&mut machine), [Did::Open]);
    }

    #[test]
    fn what_came_with_it_ends_as_well_and_a_wake_up_leaves_no_timer() {
        let mut machine = keeping(Some(HOUR));
        let wake = Timer::new(0, "r", Alarm("a".into(), 2, 0), 0).wake();
        let resume = r#"{"type":"resume","id":"1"}"#.to_owned();
        let messages = vec![message(0, OLD, None), message(1, YOUNG, Some(wake)), message(2, YOUNG, Some(resume))];
        let [Did::Status(handle)] = without_row(&mut machine, messages)[..] else { panic!("no question") };
        machine.status_found(handle, Ok(None), NOW);
        let [Did::Bury(first, "ERR_RUN_EXPIRED"), Did::Drop, Did::Bury(second, "ERR_RUN_EXPIRED")] = did(&mut machine)[..] else { panic!("not all ended") };
        machine.buried(first);
        machine.buried(second);
        assert_eq!(machine.take_commits(), [(0, 3)]);
    }

    #[test]
    fn a_job_that_a_handler_hands_in_is_as_old_as_its_message() {
        for (sent, expected) in [(OLD, false), (YOUNG, true)] {
            let mut machine = machine(Config { retention: Some(HOUR), hand_over: true, local_starts: false, ..Config::default() });
            machine.messages(vec![message(0, sent, None)], NOW);
            let actions = machine.take_actions();
            let token = actions.iter().find_map(|action| if let Action::HandOver { token, .. } = action { Some(*token) } else { None }).unwrap();
            machine.submit(7, Job { run: "r".into(), blueprint: "bp".into(), node: "a".into(), command: None });
            let [Did::Load(handle)] = did(&mut machine)[..] else { panic!("it is loaded") };
            machine.loaded(handle, Ok(None), NOW);
            assert_eq!(did(&mut machine) == [Did::Open], expected);
            if expected {
                continue;
            }
            machine.status_found(handle, Ok(None), NOW);
            let actions = machine.take_actions();
            let rejected = actions.iter().find_map(|action| if let Action::Settle { submission: 7, result } = action { result.as_ref().err() } else { None });
            assert_eq!(rejected.map(|error| error.code()), Some(Code::RunExpired));
            machine.handled(token, message(0, sent, None), "r".into(), Ok(()));
            assert!(machine.handed.is_empty());
        }
    }

    #[test]
    fn a_job_of_a_users_own_consumer_has_no_age() {
        let mut machine = Machine::new(Config { retention: Some(HOUR), ..Config::default() }, 1);
        machine.assign(VIRTUAL_PARTITION);
        machine.activate(VIRTUAL_PARTITION, NOW);
        machine.submit(1, Job { run: "r".into(), blueprint: "bp".into(), node: "a".into(), command: None });
        let [Did::Load(handle)] = did(&mut machine)[..] else { panic!("it is loaded") };
        machine.loaded(handle, Ok(None), NOW);
        assert_eq!(did(&mut machine), [Did::Open]);
    }

    // Its second message would be young.
    #[test]
    fn a_message_that_moves_home_keeps_its_age() {
        let mut machine = Machine::new(Config { retention: Some(HOUR), ..Config::default() }, 64);
        let home = crate::kernel::partition::home_partition(b"r", 64);
        let other = (home + 1) % 64;
        machine.assign(other);
        machine.activate(other, NOW);
        machine.messages(vec![RawMessage { partition: other, ..message(0, OLD, None) }], NOW);
        let actions = machine.take_actions();
        let sent = actions.iter().find_map(|action| if let Action::Send { job, .. } = action { Some((job.hops, job.sent_ms)) } else { None });
        assert_eq!(sent, Some((1, OLD)));
    }
}
