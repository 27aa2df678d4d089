//! Steps of several runs, or their outcomes, in one request (decision 71): an unlogged batch, whose partitions the server applies one by one, each
//! as if it had come alone.

use std::mem;

use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::session::SharedSession;

/// Runs in a batch. Cassandra logs a warning about batches of more partitions (`unlogged_batch_across_partitions_warn_threshold`
/// of cassandra.yaml).
const MAX_RUNS: usize = 10;
/// Bytes in a batch. Cassandra logs a warning about each larger one that has several partitions (`batch_size_warn_threshold`), and
/// refuses those ten times as large.
const MAX_BYTES: usize = 5 * 1024;
/// What the server counts besides texts (`dataSize` of Cassandra's mutations), and a little more: for a partition, for each of its
/// rows, and for each cell.
const PARTITION_BYTES: usize = 40;
const ROW_BYTES: usize = 24;
const CELL_BYTES: usize = 24;

/// A step or an outcome on its way into a group.
pub(super) struct Candidate {
    /// The nodes that hold its partition; without them it goes alone.
    pub(super) replicas: Option<Replicas>,
    /// Its texts.
    pub(super) bytes: usize,
    pub(super) rows: usize,
    pub(super) cells: usize,
}

/// Nodes that hold a partition, whatever their order: a node that coordinates a batch should hold all that is in it, or else it only
/// passes on what the driver could have sent to the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replicas(u128);

impl Replicas {
    /// Those of a run in a table; `None` where the driver does not know them. `statement` is one of that table that binds the run alone.
    pub(super) fn of(session: &SharedSession, statement: &PreparedStatement, run: &str) -> Option<Self> {
        let state = session.driver.get_cluster_state();
        if state.get_nodes_info().len() == 1 {
            return Some(Self(0));
        }
        let table = statement.get_table_spec()?;
        let token = statement.calculate_token(&(run,)).ok()??;
        let found = state.get_token_endpoints(table.ks_name(), table.table_name(), token);
        // Shards matter to ScyllaDB alone; Cassandra's nodes have one. Other data centres count: a level may ask for them.
        let ids = found.iter().map(|(node, shard)| node.host_id.as_u128().wrapping_add(u128::from(*shard)));
        ids.reduce(|one, other| one ^ other).map(Self)
    }
}

/// Puts candidates into groups, by index: those of a group have the same replicas, and are within the limits of a batch.
pub(super) fn groups(candidates: impl Iterator<Item = Candidate>) -> Vec<Vec<usize>> {
    struct Open {
        replicas: Replicas,
        bytes: usize,
        group: Vec<usize>,
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut all_open: Vec<Open> = Vec::new();
    for (index, candidate) in candidates.enumerate() {
        let bytes = candidate.bytes + PARTITION_BYTES + candidate.rows * ROW_BYTES + candidate.cells * CELL_BYTES;
        let Some(replicas) = candidate.replicas else {
            groups.push(vec![index]);
            continue;
        };
        let Some(open) = all_open.iter_mut().find(|open| open.replicas == replicas) else {
            all_open.push(Open { replicas, bytes, group: vec![index] });
            continue;
        };
        if open.bytes + bytes <= MAX_BYTES {
            open.bytes += bytes;
            open.group.push(index);
            if open.group.len() == MAX_RUNS {
                open.bytes = 0;
                groups.push(mem::take(&mut open.group));
            }
        } else if bytes < open.bytes {
            open.bytes = bytes;
            groups.push(mem::replace(&mut open.group, vec![index]));
        } else {
            // Others may still join the open one: a step that is too large for company does not end a group.
            groups.push(vec![index]);
        }
    }
    groups.extend(all_open.into_iter().map(|open| open.group).filter(|group| !group.is_empty()));
    groups
}

/// A batch of statements that each bind their own timestamp, so that a repeat writes the same cells again.
pub(super) fn unlogged<'a>(statements: impl Iterator<Item = &'a PreparedStatement>) -> Batch {
    let mut batch = Batch::new(BatchType::Unlogged);
    batch.set_is_idempotent(true);
    for statement in statements {
        batch.append_statement(statement.clone());
    }
    batch
}

/// Batches of a statement, for two to `MAX_RUNS` runs.
pub(super) struct Batches(Vec<Batch>);

impl Batches {
    pub(super) fn of(statement: &PreparedStatement) -> Self {
        Self((2..=MAX_RUNS).map(|runs| unlogged(std::iter::repeat_n(statement, runs))).collect())
    }

    /// `None` for a number that no group has.
    pub(super) fn for_runs(&self, runs: usize) -> Option<&Batch> {
        self.0.get(runs.checked_sub(2)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(replicas: Option<u128>, bytes: usize) -> Candidate {
        Candidate { replicas: replicas.map(Replicas), bytes, rows: 1, cells: 1 }
    }

    fn grouped(candidates: Vec<Candidate>) -> Vec<Vec<usize>> {
        let mut found = groups(candidates.into_iter());
        found.sort_unstable();
        found
    }

    #[test]
    fn steps_on_the_same_replicas_go_together() {
        assert_eq!(grouped(vec![of(Some(1), 10), of(Some(2), 10), of(Some(1), 10), of(Some(2), 10)]), [[0, 2], [1, 3]]);
        assert_eq!(grouped(vec![of(None, 10), of(None, 10)]), [[0], [1]], "nobody knows their replicas");
    }

    #[test]
    fn a_group_stays_below_the_sizes_about_which_the_server_warns() {
        let many = grouped((0..25).map(|_| of(Some(1), 10)).collect());
        assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
        let half = MAX_BYTES / 2 - PARTITION_BYTES - ROW_BYTES - CELL_BYTES;
        assert_eq!(grouped(vec![of(Some(1), half), of(Some(1), half), of(Some(1), 1)]), [vec![0, 1], vec![2]], "full to the last byte");
        assert_eq!(grouped(vec![of(Some(1), half), of(Some(1), half + 1)]), [[0], [1]]);
        let full = (0..10).map(|_| of(Some(1), 1)).chain((0..2).map(|_| of(Some(1), 2_000)));
        assert_eq!(grouped(full.collect()).last(), Some(&vec![10, 11]), "larger than all of a full group");
    }

    #[test]
    fn a_step_that_is_too_large_goes_alone_and_leaves_the_group_open() {
        assert_eq!(grouped(vec![of(Some(1), 10), of(Some(1), 1 << 20), of(Some(1), 10)]), [vec![0, 2], vec![1]]);
        assert_eq!(grouped(vec![of(Some(1), 1 << 20), of(Some(1), 10), of(Some(1), 10)]), [vec![0], vec![1, 2]]);
    }

    #[test]
    fn each_step_is_in_one_group() {
        let sizes = (0..200_usize).map(|index| (index * 7_919) % 6_000);
        let found = grouped(sizes.enumerate().map(|(index, bytes)| of((index % 5 > 0).then_some(index as u128 % 3), bytes)).collect());
        let mut all: Vec<usize> = found.concat();
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
    }
}
