//! Commands (D12): resume, cancel, wake-up. Each is a message that its run's owner applies in a step, or
//! finds to change nothing; until then its anchor is held.

use super::{Action, Anchor, Machine, PendingCommand, Phase, WaitingMessage};
use crate::kernel::effects::{DeadLetter, RawMessage, ToSession};
use crate::kernel::error::Code;
use crate::kernel::job::Job;
use crate::kernel::mutant::{Mutant, mutant};
use crate::kernel::timer::Timer;

impl Machine {
    // Gives a command of an open run to its session; one of a run that is ending waits for what comes then.
    pub(super) fn command(&mut self, handle: u32, text: String, anchor: Anchor, message: Option<Box<RawMessage>>) {
        let token = self.command_token();
        let Some(run) = self.runs.get_mut(&handle) else { return self.release(anchor) };
        run.commands.insert(token, PendingCommand { anchor, text: text.clone(), message });
        if run.phase == Phase::Open {
            self.tell(ToSession::Command { handle, token, command: text });
        }
    }

    pub(super) fn command_token(&mut self) -> u32 {
        let token = self.next_command;
        self.next_command = token.wrapping_add(1).max(1);
        token
    }

    // Takes the commands out of the messages that wait for a run that opens.
    pub(super) fn take_commands(&mut self, handle: u32) -> Vec<(u32, String)> {
        let Some(run) = self.runs.get_mut(&handle) else { return Vec::new() };
        let (commands, jobs): (Vec<WaitingMessage>, Vec<WaitingMessage>) =
            std::mem::take(&mut run.waiting).into_iter().partition(|waiting| waiting.command.is_some());
        run.waiting = jobs;
        self.waiting_messages -= commands.len();
        let mut told = Vec::with_capacity(commands.len());
        for WaitingMessage { command, anchor, message, .. } in commands {
            let token = self.command_token();
            let text = command.unwrap_or_default();
            if let Some(run) = self.runs.get_mut(&handle) {
                run.commands.insert(token, PendingCommand { anchor, text: text.clone(), message });
            }
            told.push((token, text));
        }
        told
    }

    /// A session found that a command changes nothing.
    pub fn command_done(&mut self, handle: u32, token: u32) {
        let Some(run) = self.runs.get_mut(&handle) else { return };
        let id = run.id.clone();
        if let Some(command) = run.commands.remove(&token) {
            let anchor = self.finish_command(&id, &command);
            self.release(anchor);
        }
    }

    /// A session cannot make anything of a command.
    pub fn command_refused(&mut self, handle: u32, token: u32, code: &'static str, reason: String) {
        let Some(run) = self.runs.get_mut(&handle) else { return };
        let id = run.id.clone();
        if let Some(command) = run.commands.remove(&token) {
            self.bury_command(&id, command, code, reason);
        }
    }

    pub(super) fn bury_command(&mut self, run: &str, command: PendingCommand, code: &'static str, reason: String) {
        // A wake-up of a run that is gone has nobody to tell. Of any other it may be all that brings the run back, so it is
        // kept for an operator, like every command.
        if [Code::RunUnknown, Code::RunExpired].iter().any(|gone| gone.as_str() == code) && Timer::behind(run, &command.text).is_some() {
            let anchor = self.finish_command(run, &command);
            return self.release(anchor);
        }
        let anchor = command.anchor;
        let message = command.into_message(run);
        match anchor {
            Anchor::Log { .. } => self.bury(anchor, DeadLetter { message, code, reason, run: Some(run.to_owned()) }),
            Anchor::Submitted(_) => {
                let known = Code::ALL.iter().copied().find(|known| known.as_str() == code).unwrap_or(Code::Internal);
                self.reject(anchor, &crate::kernel::error::FlowError::RunRefused { code: known, run: run.to_owned(), reason });
            }
        }
    }

    // What a command leaves behind is cleared away; its anchor is still to be released.
    pub(super) fn finish_command(&mut self, run: &str, command: &PendingCommand) -> Anchor {
        if let Some(timer) = Timer::behind(run, &command.text) {
            self.actions.push(Action::DropTimer(timer));
        }
        command.anchor
    }

    // Commands that a step applied: what they held goes on to what the step made due.
    pub(super) fn applied(&mut self, handle: u32, tokens: &[u32]) -> Vec<Anchor> {
        let Some(run) = self.runs.get_mut(&handle) else { return Vec::new() };
        let id = run.id.clone();
        let applied: Vec<PendingCommand> = tokens.iter().filter_map(|token| run.commands.remove(token)).collect();
        applied.iter().map(|command| self.finish_command(&id, command)).collect()
    }

    // Commands that nobody applied when the run ended: those of a run that awaits open it again.
    pub(super) fn leave_commands(&mut self, commands: Vec<PendingCommand>, run: &str, partition: i32, is_final: bool) {
        for command in commands {
            if is_final || mutant(Mutant::ForgetCommands) {
                let anchor = self.finish_command(run, &command);
                self.release(anchor);
            } else {
                let PendingCommand { anchor, text, message } = command;
                let job = Job { run: run.to_owned(), command: Some(text), ..Job::default() };
                self.deliver(job, partition, anchor, message);
            }
        }
    }
}

impl PendingCommand {
    // The message as it was, or as it must have been.
    fn into_message(self, run: &str) -> RawMessage {
        self.message.map_or_else(|| super::runs::rebuilt(run, "", "", Some(self.text), self.anchor), |message| *message)
    }
}
