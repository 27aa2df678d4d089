//! Runs of a `document` table, copied to an `entries` table.
//!
//! Each cell of the copy is written with the write time of the document that it was copied from. So copying is
//! the same however often and in whichever order it is done, whatever was cut off in between: a later document wins over an
//! earlier copy, and what a worker has written to the copy since wins over both.

use std::collections::HashMap;
use std::sync::Arc;

use scylla::statement::prepared::PreparedStatement;

use super::context_store::CassandraContexts;
use super::entries_store::{CassandraEntries, Row};
use super::errors;
use super::session::SharedSession;
use crate::backends::tables::{CopyMode, CopyState};
use crate::kernel::document::{Document, Entry, RESERVED_KEY, Stored};
use crate::kernel::error::{FlowError, Retry};
use crate::ports::{ContextStore, StoredState};

/// From where, and where to.
pub(super) struct Migration {
    pub session: Arc<SharedSession>,
    pub from: Arc<CassandraContexts>,
    pub to: Arc<CassandraEntries>,
    pub delete: PreparedStatement,
}

/// A run as the source has it.
struct Source {
    entries: Vec<Entry>,
    micros: i64,
}

/// How a copy compares.
#[derive(Debug, PartialEq, Eq)]
enum Copy {
    Same,
    /// Whatever differs was written to it later.
    Ahead,
    Stale,
}

impl Migration {
    /// Brings the copy of a run up to date, as far as `mode` says, and verifies it by reading it back.
    ///
    /// # Errors
    /// `StateCorrupt` for a document that cannot be read; `Store`, also when what is read back differs.
    pub(super) async fn run(&self, run: &str, mode: CopyMode) -> Result<CopyState, FlowError> {
        let Some(source) = self.source(run).await? else { return Ok(CopyState::Gone) };
        let copy = self.to.rows(run).await?;
        let state = match (compare(&source, &copy, Missing::IsStale), mode) {
            (Copy::Same | Copy::Ahead, _) => CopyState::Same,
            (Copy::Stale, CopyMode::Look) => return Ok(CopyState::Stale),
            (Copy::Stale, _) => self.copy(run, &source, &copy).await?,
        };
        if mode == CopyMode::Move {
            self.delete(run, source.micros).await?;
        }
        Ok(state)
    }

    async fn source(&self, run: &str) -> Result<Option<Source>, FlowError> {
        let Some(found) = self.from.load(run).await? else { return Ok(None) };
        let (StoredState::Document { text, checkpoint }, Some(micros)) = (found.state, found.write_micros) else { return Ok(None) };
        let corrupt = |cause: String| FlowError::StateCorrupt { run: run.to_owned(), cause };
        let text = text.ok_or_else(|| corrupt("its document is NULL".into()))?;
        let Stored { document, checkpoint: inside } = Document::parse(&text).map_err(|error| corrupt(error.to_string()))?;
        let reserved = checkpoint.or(inside).map(|raw| (RESERVED_KEY.to_owned(), raw));
        let entries = document.entries().map(|(key, raw)| (key.to_owned(), raw.to_owned())).chain(reserved).collect();
        Ok(Some(Source { entries, micros }))
    }

    async fn copy(&self, run: &str, source: &Source, before: &[Row]) -> Result<CopyState, FlowError> {
        let expected: HashMap<&str, &str> = source.entries.iter().map(|(key, raw)| (key.as_str(), raw.as_str())).collect();
        let gone = before.iter().map(|(key, ..)| key.as_str()).filter(|key| !expected.contains_key(key)).map(|key| (key, None));
        let there = source.entries.iter().map(|(key, raw)| (key.as_str(), Some(raw.as_str())));
        self.to.put(run, there.chain(gone), source.micros).await?;
        match compare(source, &self.to.rows(run).await?, Missing::MayBeDeleted) {
            Copy::Same | Copy::Ahead => Ok(CopyState::Copied),
            Copy::Stale => Err(errors::failed(format!("copying run \"{run}\""), "what is read back is not what was written".into(), Retry::Later)),
        }
    }

    /// With the time of what was copied: a document that was written since stays.
    async fn delete(&self, run: &str, micros: i64) -> Result<(), FlowError> {
        let answer = self.session.driver.execute_unpaged(&self.delete, (micros, run)).await;
        answer.map(drop).map_err(|error| errors::store(format!("deleting the document of run \"{run}\""), &error))
    }
}

/// Whether a key that is not there may be one that was deleted there later: nothing tells but that something else was written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    IsStale,
    MayBeDeleted,
}

fn compare(source: &Source, copy: &[Row], missing: Missing) -> Copy {
    let is_later = |micros: &Option<i64>| micros.is_some_and(|micros| micros > source.micros);
    let is_ahead = copy.iter().any(|(.., micros)| is_later(micros));
    let mut rows: HashMap<&str, (Option<&str>, bool)> = copy.iter().map(|(key, raw, micros)| (key.as_str(), (raw.as_deref(), is_later(micros)))).collect();
    let is_kept = |(key, raw): &Entry| match rows.remove(key.as_str()) {
        Some((found, later)) => later || found == Some(raw.as_str()),
        None => is_ahead && missing == Missing::MayBeDeleted,
    };
    let kept = source.entries.iter().map(is_kept).filter(|kept| *kept).count();
    // What remains is in the copy alone.
    let is_stale = kept < source.entries.len() || rows.values().any(|(_, later)| !later);
    match (is_stale, is_ahead) {
        (true, _) => Copy::Stale,
        (false, true) => Copy::Ahead,
        (false, false) => Copy::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source { entries: vec![("a".into(), "1".into()), ("b".into(), "2".into())], micros: 10 }
    }

    fn rows(rows: &[(&str, &str, i64)]) -> Vec<Row> {
        rows.iter().map(|(key, raw, micros)| ((*key).into(), Some((*raw).into()), Some(*micros))).collect()
    }

    fn before(copy: &[(&str, &str, i64)]) -> Copy {
        compare(&source(), &rows(copy), Missing::IsStale)
    }

    #[test]
    fn a_copy_is_the_same_key_by_key() {
        assert_eq!(before(&[("a", "1", 10), ("b", "2", 10)]), Copy::Same);
        assert_eq!(before(&[("a", "1", 10)]), Copy::Stale);
        assert_eq!(before(&[("a", "1", 10), ("b", "3", 10)]), Copy::Stale);
        assert_eq!(before(&[("a", "1", 10), ("b", "2", 10), ("c", "3", 9)]), Copy::Stale);
        assert_eq!(before(&[]), Copy::Stale);
    }

    #[test]
    fn what_was_written_to_the_copy_later_stands() {
        assert_eq!(before(&[("a", "1", 10), ("b", "7", 11)]), Copy::Ahead);
        assert_eq!(before(&[("a", "1", 10), ("b", "2", 10), ("c", "3", 12)]), Copy::Ahead);
        assert_eq!(before(&[("a", "0", 9), ("b", "2", 10), ("c", "3", 12)]), Copy::Stale);
    }

    #[test]
    fn a_run_of_which_only_a_later_key_is_there_is_copied() {
        let copy = [("c", "3", 12)];
        assert_eq!(before(&copy), Copy::Stale);
        assert_eq!(compare(&source(), &rows(&copy), Missing::MayBeDeleted), Copy::Ahead);
    }
}
