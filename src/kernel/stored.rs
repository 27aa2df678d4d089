//! A run's state as stores keep it (design D8), and what a write of it has to carry.

use serde::de::IgnoredAny;

use super::document::{Document, RESERVED_KEY, Stored};

/// How a context store lays out a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContextLayout {
    /// One text per run, with the checkpoint under the reserved key in it.
    #[default]
    Document,
    /// One text per run, and the checkpoint beside it.
    DocumentAndCheckpoint,
    /// A row per key; the checkpoint has the row of the reserved key.
    Entries,
}

impl ContextLayout {
    /// The text that a write needs; `None` where only the changed keys are written, so that a step costs
    /// what it changes and not what the run holds.
    #[must_use]
    pub fn text(self, document: &Document, checkpoint: &str) -> Option<String> {
        match self {
            Self::Document => Some(document.assemble(Some(checkpoint))),
            Self::DocumentAndCheckpoint => Some(document.assemble(None)),
            Self::Entries => None,
        }
    }

    /// Whether a write replaces keys that it did not change, so that a foreign change has to be merged first.
    #[must_use]
    pub fn rewrites(self) -> bool {
        self != Self::Entries
    }

    /// A run without any row.
    #[must_use]
    pub fn nothing(self) -> Stored {
        Stored { document: if self == Self::Entries { Document::by_key() } else { Document::default() }, checkpoint: None }
    }
}

/// What a store found of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredState {
    /// One text.
    Document {
        /// The JSON text of the cell, or `None` where the row exists with a NULL cell.
        text: Option<String>,
        /// Raw JSON of the checkpoint's own column; `None` where there is none, or nothing in it yet.
        checkpoint: Option<String>,
    },
    /// Rows: keys and raw JSON values in the order of the keys; `None` is a NULL cell.
    Entries(Vec<(String, Option<String>)>),
}

/// A run as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredContext {
    /// Its keys.
    pub state: StoredState,
    /// The newest write time of its cells, microseconds since the epoch, where the store knows it.
    pub write_micros: Option<i64>,
}

impl StoredContext {
    /// A run in one text that holds its checkpoint, too.
    #[must_use]
    pub fn document(text: Option<String>, write_micros: Option<i64>) -> Self {
        Self { state: StoredState::Document { text, checkpoint: None }, write_micros }
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, in words that quote no value. See [`Document::parse`].
    pub fn read(self) -> Result<Stored, String> {
        match self.state {
            StoredState::Document { text: None, .. } => Err("the cell is NULL".to_owned()),
            StoredState::Document { text: Some(text), checkpoint } => {
                let stored = Document::parse(&text).map_err(|error| error.to_string())?;
                // A text that still has one was written before the column was there, or put back by a client.
                Ok(Stored { checkpoint: checkpoint.or(stored.checkpoint), ..stored })
            }
            StoredState::Entries(rows) => read_entries(rows),
        }
    }
}

fn read_entries(rows: Vec<(String, Option<String>)>) -> Result<Stored, String> {
    let mut stored = ContextLayout::Entries.nothing();
    for (key, raw) in rows {
        let Some(raw) = raw else { return Err(format!("the value of key \"{key}\" is NULL")) };
        // A bad value would spoil the payload of the outcome, long after the nodes have run.
        if let Err(error) = serde_json::from_str::<IgnoredAny>(&raw) {
            return Err(format!("the value of key \"{key}\" is not JSON ({error})"));
        }
        if key == RESERVED_KEY {
            stored.checkpoint = Some(raw);
        } else {
            stored.document.set(key, raw);
        }
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(rows: &[(&str, Option<&str>)]) -> Result<Stored, String> {
        let rows = rows.iter().map(|(key, raw)| ((*key).to_owned(), raw.map(str::to_owned))).collect();
        StoredContext { state: StoredState::Entries(rows), write_micros: None }.read()
    }

    #[test]
    fn each_layout_gives_the_same_run() {
        let in_text = StoredContext::document(Some(r#"{"a":1,"_flowcraft":{"v":1},"b":2}"#.into()), None).read().unwrap();
        let beside = StoredState::Document { text: Some(r#"{"a":1,"b":2}"#.into()), checkpoint: Some(r#"{"v":1}"#.into()) };
        let beside = StoredContext { state: beside, write_micros: None }.read().unwrap();
        let rows = entries(&[("_flowcraft", Some(r#"{"v":1}"#)), ("a", Some("1")), ("b", Some("2"))]).unwrap();
        for stored in [&in_text, &beside, &rows] {
            assert_eq!(stored.document.assemble(stored.checkpoint.as_deref()), r#"{"a":1,"b":2,"_flowcraft":{"v":1}}"#);
        }
    }

    #[test]
    fn the_column_goes_before_a_key_that_a_client_has_put_back() {
        let state = StoredState::Document { text: Some(r#"{"a":1,"_flowcraft":{"old":1}}"#.into()), checkpoint: Some("{}".into()) };
        let stored = StoredContext { state, write_micros: None }.read().unwrap();
        assert_eq!(stored.checkpoint.as_deref(), Some("{}"));
        assert_eq!(ContextLayout::DocumentAndCheckpoint.text(&stored.document, "{}").as_deref(), Some(r#"{"a":1}"#));
    }

    #[test]
    fn rows_that_nobody_can_read_are_named_without_their_value() {
        assert_eq!(entries(&[("a", None)]).unwrap_err(), "the value of key \"a\" is NULL");
        let text = entries(&[("a", Some("secret"))]).unwrap_err();
        assert!(text.starts_with("the value of key \"a\" is not JSON") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn a_run_of_entries_is_published_in_the_order_of_its_keys() {
        let mut fresh = ContextLayout::Entries.nothing().document;
        for key in ["b", "a", "c"] {
            fresh.set(key.into(), "1".into());
        }
        let again = entries(&[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]).unwrap().document;
        assert_eq!(fresh.assemble_visible(&[], &[]), again.assemble_visible(&[], &[]));
    }
}
