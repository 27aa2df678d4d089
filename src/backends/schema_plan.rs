//! What `ensureSchema` is asked for. The glue has validated what users wrote (`src/js/schema.js`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kernel::effects::ContextLayout;

/// The layouts that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Layout {
    /// A text per run, the checkpoint beside it.
    Document,
    /// A row per key.
    Entries,
}

impl Layout {
    /// The layout of a table that `ensureSchema` makes.
    #[must_use]
    pub fn of_new_table(self) -> ContextLayout {
        match self {
            Self::Document => ContextLayout::DocumentAndCheckpoint,
            Self::Entries => ContextLayout::Entries,
        }
    }

    /// What users call a table's layout.
    #[must_use]
    pub fn of(layout: ContextLayout) -> Self {
        match layout {
            ContextLayout::Document | ContextLayout::DocumentAndCheckpoint => Self::Document,
            ContextLayout::Entries => Self::Entries,
        }
    }
}

/// Replication of a keyspace that has to be created.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Replication {
    /// So many replicas in the local data centre.
    Factor(u32),
    /// The options of CQL: replicas by data centre, or `class` and its options.
    Options(BTreeMap<String, serde_json::Value>),
}

/// Keyspace and tables as they ought to be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaPlan {
    /// Keyspace of all tables.
    pub keyspace: String,
    /// Name of the context table.
    pub context_table: String,
    /// Name of the status table; the tables of timers and leases are named after it.
    pub status_table: String,
    /// Absent: as the table is, `document` for a new one.
    pub layout: Option<Layout>,
    /// Absent: up to three replicas in the local data centre. An existing keyspace keeps its own.
    pub replication: Option<Replication>,
    /// How long status rows of ended runs live; 0 for ever; absent leaves it as it is.
    pub ttl_seconds: Option<i32>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ensured {
    /// Layout of the context table.
    pub layout: Layout,
    /// What was executed, in order; empty where nothing was missing.
    pub statements: Vec<String>,
}
