//! What sessions have said in one turn of the event loop, in one call: a text and the lengths of its parts. Each string and each
//! list's member is a call of Node-API or two, some sixty for a step (decision 67).
//!
//! `docs/bridge.md` lists what comes in which order.

use std::slice::Iter;

use crate::engine::Command;
use crate::kernel::error::{Code, FlowError};
use crate::kernel::machine::Step;
use crate::kernel::outcome::Outcome;
use crate::kernel::timer::{Alarm, Parking};

const OPENED: u32 = 0;
const STEP: u32 = 1;
/// In place of a length: there is no such text. A number that V8 keeps in a list without a box.
const ABSENT: u32 = 0x7fff_ffff;

/// The commands of a turn, in their order. One that cannot be read refuses its run.
///
/// # Errors
/// `Internal` where lengths and text do not fit each other: what comes after cannot be told apart.
pub fn commands(text: &str, layout: &[u32]) -> Result<Vec<Command>, FlowError> {
    let mut turn = Turn { rest: text, lengths: layout.iter(), is_ascii: text.is_ascii() };
    let mut commands = Vec::new();
    while let Some(kind) = turn.lengths.next() {
        let handle = turn.number()?;
        let command = match *kind {
            OPENED => turn.opened(handle)?,
            STEP => turn.step(handle)?,
            _ => return Err(broken(format!("kind {kind}"))),
        };
        commands.push(command.unwrap_or_else(|reason| Command::Refused(handle, Code::Internal.as_str(), reason, None)));
    }
    Ok(commands)
}

fn broken(detail: String) -> FlowError {
    FlowError::Internal { place: "turn of sessions", detail }
}

struct Turn<'a> {
    rest: &'a str,
    lengths: Iter<'a, u32>,
    is_ascii: bool,
}

/// A command, or why it cannot be read.
type Readable = Result<Command, String>;

impl<'a> Turn<'a> {
    fn number(&mut self) -> Result<u32, FlowError> {
        self.lengths.next().copied().ok_or_else(|| broken("a number is missing".into()))
    }

    fn numbers(&mut self) -> Result<Vec<u32>, FlowError> {
        let count = self.number()?;
        (0..count).map(|_| self.number()).collect()
    }

    fn text(&mut self) -> Result<&'a str, FlowError> {
        let length = self.number()?;
        self.part(length)
    }

    fn text_if_any(&mut self) -> Result<Option<&'a str>, FlowError> {
        match self.number()? {
            ABSENT => Ok(None),
            length => self.part(length).map(Some),
        }
    }

    // Lengths are JavaScript's: UTF-16 code units.
    fn part(&mut self, length: u32) -> Result<&'a str, FlowError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let end = if self.is_ascii { Some(length) } else { bytes_of(self.rest, length) };
        let (part, rest) = end.and_then(|end| self.rest.split_at_checked(end)).ok_or_else(|| broken(format!("{length} units are missing")))?;
        self.rest = rest;
        Ok(part)
    }

    fn opened(&mut self, handle: u32) -> Result<Readable, FlowError> {
        Ok(due(self.text()?).map(|due| Command::Opened(handle, due)))
    }

    fn step(&mut self, handle: u32) -> Result<Readable, FlowError> {
        let seq = self.number()?;
        let changes = self.changes()?;
        let checkpoint = self.text()?.to_owned();
        let done = self.numbers()?;
        let (due_json, outcome, extras_json) = (self.text()?, self.text_if_any()?, self.text_if_any()?);
        Ok(due(due_json).and_then(|due| {
            let outcome = outcome.map(Outcome::parse).transpose().map_err(|error| format!("outcome: {error}"))?;
            let Extras { applied, timers, parking, unparking } = extras(extras_json)?;
            let step = Step { seq, changes, checkpoint, done, due, applied, timers, parking, unparking, outcome };
            Ok(Command::Step(handle, Box::new(step)))
        }))
    }

    // `key, raw, ...`; an empty raw deletes (no JSON value is empty).
    fn changes(&mut self) -> Result<Vec<(String, Option<String>)>, FlowError> {
        let count = self.number()? / 2;
        (0..count)
            .map(|_| {
                let (key, raw) = (self.text()?, self.text()?);
                Ok((key.to_owned(), (!raw.is_empty()).then(|| raw.to_owned())))
            })
            .collect()
    }
}

/// How many bytes the first `units` UTF-16 code units take.
fn bytes_of(text: &str, units: usize) -> Option<usize> {
    let mut left = units;
    for (at, character) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(character.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}

fn due(json: &str) -> Result<Vec<(u32, String)>, String> {
    if json == "[]" {
        return Ok(Vec::new());
    }
    serde_json::from_str(json).map_err(|error| format!("due visits: {error}"))
}

// What few steps have.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Extras {
    applied: Vec<u32>,
    timers: Vec<Alarm>,
    parking: Option<Parking>,
    unparking: Option<Parking>,
}

fn extras(json: Option<&str>) -> Result<Extras, String> {
    json.map_or_else(|| Ok(Extras::default()), |json| serde_json::from_str(json).map_err(|error| format!("step extras: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(texts: &[&str]) -> Vec<u32> {
        texts.iter().map(|text| u32::try_from(text.encode_utf16().count()).unwrap()).collect()
    }

    // As `byTurns` lays it out: a step of run 7 with one changed and one deleted key, then the opening of run 8.
    fn turn_of(raw: &str) -> (String, Vec<u32>) {
        let texts = ["k", raw, "gone", "", "{\"v\":1}", "[[2,\"n\"]]", "{\"applied\":[5]}", "[]"];
        let [k, value, gone, empty, checkpoint, due, extras, none] = lengths(&texts)[..] else { unreachable!() };
        let layout = vec![STEP, 7, 3, 4, k, value, gone, empty, checkpoint, 2, 1, 9, due, ABSENT, extras, OPENED, 8, none];
        (texts.concat(), layout)
    }

    #[test]
    fn parts_are_told_apart_by_code_units_whatever_the_text_is() {
        for raw in ["1", "\"ü\"", "\"\u{1f600}€\""] {
            let (text, layout) = turn_of(raw);
            let read = commands(&text, &layout).unwrap();
            let [Command::Step(7, step), Command::Opened(8, opened)] = &read[..] else { panic!("{raw}") };
            assert_eq!(step.changes, [("k".to_owned(), Some(raw.to_owned())), ("gone".to_owned(), None)]);
            assert_eq!((step.seq, step.checkpoint.as_str(), &step.done[..]), (3, "{\"v\":1}", &[1, 9][..]));
            assert_eq!((&step.due[..], &step.applied[..]), (&[(2, "n".to_owned())][..], &[5][..]));
            assert!(step.outcome.is_none() && opened.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_read_refuses_its_run_alone() {
        let layout = [OPENED, 1, 3, OPENED, 2, 2];
        let read = commands("[7][]", &layout).unwrap();
        assert!(matches!(&read[0], Command::Refused(1, "ERR_INTERNAL", reason, None) if reason.contains("due visits")));
        assert!(matches!(&read[1], Command::Opened(2, due) if due.is_empty()));
    }

    #[test]
    fn lengths_that_do_not_fit_the_text_are_an_error() {
        let cases: [(&str, &[u32]); 5] =
            [("[]", &[OPENED, 1]), ("[]", &[OPENED]), ("[", &[OPENED, 1, 2]), ("ü", &[OPENED, 1, 2]), ("\u{1f600}", &[OPENED, 1, 1])];
        for (text, layout) in cases {
            assert!(commands(text, layout).is_err(), "{text} {layout:?}");
        }
        assert!(commands("", &[9, 1]).is_err());
    }
}
