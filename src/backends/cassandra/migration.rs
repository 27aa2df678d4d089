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

impl Migration {
    /// Brings the copy of a run up to date, as far as `mode` says, and verifies it by reading it back.
    ///
    /// # Errors
    /// `StateCorrupt` for a document that cannot be read; `Store`, also when what is read back differs.
    pub(super) async fn run(&self, run: &str, mode: CopyMode) -> Result<CopyState, FlowError> {
        let Some(source) = self.source(run).await? else { return Ok(CopyState::Gone) };
        let copy = self.to.rows(run).await?;
        let state = match (is_stale(&source, &copy), mode) {
            (false, _) => CopyState::Same,
            (true, CopyMode::Look) => return Ok(CopyState::Stale),
            (true, _) => self.copy(run, &source, &copy).await?,
        };
        if mode == CopyMode::Move && state != CopyState::Gone {
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
        let after = self.to.rows(run).await?;
        if !after.iter().any(|(.., micros)| micros.is_some_and(|micros| micros >= source.micros)) {
            // The write was acknowledged, and nothing of it is there: the run was deleted from the copy since.
            return Ok(CopyState::Gone);
        }
        if is_stale(source, &after) {
            return Err(errors::failed(format!("copying run \"{run}\""), "what is read back is not what was written".into(), Retry::Later));
        }
        Ok(CopyState::Copied)
    }

    /// With the time of what was copied: a document that was written since stays.
    async fn delete(&self, run: &str, micros: i64) -> Result<(), FlowError> {
        let answer = self.session.driver.execute_unpaged(&self.delete, (micros, run)).await;
        answer.map(drop).map_err(|error| errors::store(format!("deleting the document of run \"{run}\""), &error))
    }
}

/// Whether something of the source is not in the copy yet, or something is there that the source has no more. Copies are written whole: where
/// one cell has the time of the document, all were there, and a key that is missing was deleted since.
fn is_stale(source: &Source, copy: &[Row]) -> bool {
    let is_later = |micros: &Option<i64>| micros.is_some_and(|micros| micros > source.micros);
    let was_copied = copy.iter().any(|(.., micros)| *micros == Some(source.micros));
    let mut rows: HashMap<&str, (Option<&str>, bool)> = copy.iter().map(|(key, raw, micros)| (key.as_str(), (raw.as_deref(), is_later(micros)))).collect();
    let is_kept = |(key, raw): &Entry| match rows.remove(key.as_str()) {
        Some((found, later)) => later || found == Some(raw.as_str()),
        None => was_copied,
    };
    let kept = source.entries.iter().map(is_kept).filter(|kept| *kept).count();
    // What remains is in the copy alone.
    kept < source.entries.len() || rows.values().any(|(_, later)| !later)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale(copy: &[(&str, &str, i64)]) -> bool {
        let source = Source { entries: vec![("a".into(), "1".into()), ("b".into(), "2".into())], micros: 10 };
        let rows: Vec<Row> = copy.iter().map(|(key, raw, micros)| ((*key).into(), Some((*raw).into()), Some(*micros))).collect();
        is_stale(&source, &rows)
    }

    #[test]
    fn a_copy_is_compared_key_by_key() {
        assert!(!stale(&[("a", "1", 10), ("b", "2", 10)]));
        assert!(stale(&[("a", "1", 10), ("b", "3", 9)]));
        assert!(stale(&[("a", "1", 9), ("b", "0", 9)]));
        assert!(stale(&[("a", "1", 10), ("b", "2", 10), ("c", "3", 9)]));
        assert!(stale(&[]));
    }

    #[test]
    fn what_was_written_to_the_copy_later_stands() {
        assert!(!stale(&[("a", "1", 10), ("b", "7", 11)]));
        assert!(!stale(&[("a", "1", 10), ("b", "2", 10), ("c", "3", 12)]));
        assert!(stale(&[("a", "0", 9), ("b", "2", 10), ("c", "3", 12)]));
    }

    #[test]
    fn what_was_deleted_from_the_copy_later_stays_deleted() {
        assert!(!stale(&[("a", "1", 10)]));
        assert!(stale(&[("a", "1", 9)]), "a copy of an earlier document");
        assert!(stale(&[("c", "3", 12)]), "a key of a run that was not copied");
    }
}
