//! Which runs are `running`, so that stalled ones are found without a scan of the status table.
//!
//! One storage partition per ten minutes and shard; a *directory* names the buckets that may hold rows. A run is entered
//! before it is marked as running, and leaves after its outcome. A row that nobody took out (its worker was killed) says
//! nothing by itself: whoever finds it looks at the status row, which decides, and puts it right.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;

use super::schema::TableName;
use super::session::SharedSession;
use super::{errors, statements};
use crate::backends::clock::wall_micros;
use crate::backends::lock;
use crate::kernel::error::FlowError;
use crate::kernel::time::MICROS_PER_MS;

/// Small enough that a busy group's tombstones in one of its partitions stay far below what servers refuse to read.
const BUCKET_MS: i64 = 600_000;
/// Partitions of a bucket.
const SHARDS: i32 = 64;
/// The directory's own partition: its rows have buckets where others have runs.
const DIRECTORY_SHARD: i32 = -1;
const DIRECTORY_BUCKET: i64 = 0;
/// A bucket that is so much older gets no rows any more, whoever's clock is wrong, and those in it move on.
const SETTLED_BUCKETS: i64 = 6;
/// In a younger one a row may be there already, and the mark that it goes with not yet.
const FRESH_BUCKETS: i64 = 2;

/// Where a search goes on: a bucket of the directory, and its next shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    bucket: i64,
    shard: i32,
}

pub(super) struct RunningIndex {
    session: Arc<SharedSession>,
    put: PreparedStatement,
    delete: PreparedStatement,
    find: PreparedStatement,
    state: PreparedStatement,
    /// In which bucket this process has entered a run.
    entered: Mutex<HashMap<String, i64>>,
    /// Buckets that this process has put into the directory.
    listed: Mutex<HashSet<i64>>,
}

fn bucket_at(ms: i64) -> i64 {
    ms.div_euclid(BUCKET_MS)
}

fn present_bucket() -> i64 {
    bucket_at(wall_micros() / MICROS_PER_MS)
}

/// The same for all versions and processes: FNV-1a, 32 bits.
fn shard_of(run: &str) -> i32 {
    let hash = run.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i32::try_from(hash % SHARDS.unsigned_abs()).unwrap_or(0)
}

impl RunningIndex {
    /// `statuses` is the table of whose runs it tells, `table` its own.
    pub(super) async fn prepare(session: Arc<SharedSession>, statuses: &TableName, table: &TableName) -> Result<Self, FlowError> {
        Ok(Self {
            put: session.prepare(statements::put_running(table)).await?,
            delete: session.prepare(statements::delete_running(table)).await?,
            find: session.prepare(statements::find_running(table)).await?,
            state: session.prepare(statements::run_state(statuses)).await?,
            entered: Mutex::default(),
            listed: Mutex::default(),
            session,
        })
    }

    /// The run is running. Once per run and bucket.
    pub(super) async fn enter(&self, run: &str) -> Result<(), FlowError> {
        let bucket = present_bucket();
        let before = lock(&self.entered).get(run).copied();
        if before == Some(bucket) {
            return Ok(());
        }
        self.place(run, bucket).await?;
        lock(&self.entered).insert(run.to_owned(), bucket);
        match before {
            Some(before) => self.remove(run, before).await,
            None => Ok(()),
        }
    }

    /// The run is not running any more, or somebody else takes care of it.
    pub(super) async fn leave(&self, run: &str) -> Result<(), FlowError> {
        let Some(bucket) = lock(&self.entered).remove(run) else { return Ok(()) };
        self.remove(run, bucket).await
    }

    async fn place(&self, run: &str, bucket: i64) -> Result<(), FlowError> {
        // First the directory: a row in a bucket that it does not name would never be found.
        let is_listed = lock(&self.listed).contains(&bucket);
        if !is_listed {
            self.write(&self.put, DIRECTORY_SHARD, DIRECTORY_BUCKET, &bucket.to_string()).await?;
            self.forget_before(bucket - SETTLED_BUCKETS);
            lock(&self.listed).insert(bucket);
        }
        self.write(&self.put, shard_of(run), bucket, run).await
    }

    /// Runs that have gone to another process are not told to have left this one.
    fn forget_before(&self, bucket: i64) {
        lock(&self.listed).retain(|listed| *listed >= bucket);
        lock(&self.entered).retain(|_, entered| *entered >= bucket);
    }

    async fn remove(&self, run: &str, bucket: i64) -> Result<(), FlowError> {
        self.write(&self.delete, shard_of(run), bucket, run).await
    }

    async fn write(&self, statement: &PreparedStatement, shard: i32, bucket: i64, run: &str) -> Result<(), FlowError> {
        let answer = self.session.driver.execute_unpaged(statement, (shard, bucket, run)).await;
        answer.map(drop).map_err(|error| errors::store(format!("keeping the place of run \"{run}\" among the running ones"), &error))
    }

    async fn rows(&self, shard: i32, bucket: i64) -> Result<Vec<String>, FlowError> {
        const OPERATION: &str = "looking for running runs";
        let answer = self.session.driver.execute_unpaged(&self.find, (shard, bucket)).await;
        let rows = answer.map_err(|error| errors::store(OPERATION, &error))?.into_rows_result().map_err(|error| errors::unexpected(OPERATION, error))?;
        let rows = rows.rows::<(String,)>().map_err(|error| errors::unexpected(OPERATION, error))?.map(|row| row.map(|(run,)| run));
        rows.collect::<Result<Vec<_>, _>>().map_err(|error| errors::unexpected(OPERATION, error))
    }

    /// Runs that were last marked before `before_ms`, of one shard of one bucket, and where to go on.
    ///
    /// # Errors
    /// `Store`.
    pub(super) async fn stalled(&self, before_ms: i64, from: Option<Place>) -> Result<(Vec<String>, Option<Place>), FlowError> {
        let last = bucket_at(before_ms);
        let Some(place) = (match from {
            Some(place) => Some(place),
            None => self.next_bucket(i64::MIN, last).await?,
        }) else {
            return Ok((Vec::new(), None));
        };
        let mut stalled = Vec::new();
        for run in self.rows(place.shard, place.bucket).await? {
            if self.settle(&run, place.bucket, before_ms).await? {
                stalled.push(run);
            }
        }
        let next = if place.shard + 1 < SHARDS { Some(Place { shard: place.shard + 1, ..place }) } else { self.leave_bucket(place.bucket, last).await? };
        Ok((stalled, next))
    }

    /// Whether the run is stalled, by its status row. A row of the index that is not true any more is put right.
    async fn settle(&self, run: &str, bucket: i64, before_ms: i64) -> Result<bool, FlowError> {
        let marked_ms = self.marked_ms(run).await?;
        let last = bucket_at(before_ms);
        if marked_ms.is_some() && bucket + SETTLED_BUCKETS < last {
            // Else old buckets would stay in the directory, and be searched each time, for each run that nobody can bring on. Behind
            // this search, so that it does not meet the run again.
            self.place(run, last + 1).await?;
            self.remove(run, bucket).await?;
        }
        if marked_ms.is_none() && bucket + FRESH_BUCKETS <= present_bucket() {
            self.remove(run, bucket).await?;
        }
        Ok(marked_ms.is_some_and(|marked| marked < before_ms))
    }

    /// When the run was last marked as running; `None` where it is not running.
    async fn marked_ms(&self, run: &str) -> Result<Option<i64>, FlowError> {
        let operation = || format!("reading the status of run \"{run}\"");
        let answer = self.session.driver.execute_unpaged(&self.state, (run,)).await.map_err(|error| errors::store(operation(), &error))?;
        let rows = answer.into_rows_result().map_err(|error| errors::unexpected(operation(), error))?;
        let row = rows.maybe_first_row::<(Option<String>, Option<CqlTimestamp>)>().map_err(|error| errors::unexpected(operation(), error))?;
        Ok(row.and_then(|(status, marked)| (status.as_deref() == Some("running")).then_some(marked.map_or(i64::MIN, |at| at.0))))
    }

    async fn next_bucket(&self, after: i64, last: i64) -> Result<Option<Place>, FlowError> {
        let mut buckets: Vec<i64> = self.rows(DIRECTORY_SHARD, DIRECTORY_BUCKET).await?.iter().filter_map(|text| text.parse().ok()).collect();
        buckets.sort_unstable();
        Ok(buckets.into_iter().find(|bucket| *bucket > after && *bucket <= last).map(|bucket| Place { bucket, shard: 0 }))
    }

    /// All of an old bucket's runs have left it or have moved on just now.
    async fn leave_bucket(&self, bucket: i64, last: i64) -> Result<Option<Place>, FlowError> {
        if bucket + SETTLED_BUCKETS < last {
            self.write(&self.delete, DIRECTORY_SHARD, DIRECTORY_BUCKET, &bucket.to_string()).await?;
        }
        self.next_bucket(bucket, last).await
    }
}

impl Place {
    /// A page mark crosses to JavaScript as text.
    pub(super) fn encode(self) -> String {
        format!("{}:{}", self.bucket, self.shard)
    }

    pub(super) fn decode(text: &str) -> Option<Self> {
        let (bucket, shard) = text.split_once(':')?;
        let place = Self { bucket: bucket.parse().ok()?, shard: shard.parse().ok()? };
        (0..SHARDS).contains(&place.shard).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_the_crossing() {
        let place = Place { bucket: 2_833_333, shard: 7 };
        assert_eq!(Place::decode(&place.encode()), Some(place));
        for bad in ["", "1", "1:", "x:1", "1:-1", "1:64"] {
            assert_eq!(Place::decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn shards_are_those_of_every_version() {
        assert_eq!(["", "a", "foobar"].map(shard_of), [5, 44, 40]);
        let mut used = std::collections::HashSet::new();
        for run in 0..1_000 {
            used.insert(shard_of(&format!("run-{run}")));
        }
        assert_eq!(used.len(), usize::try_from(SHARDS).unwrap());
    }

    #[test]
    fn buckets_are_of_ten_minutes() {
        assert_eq!([bucket_at(0), bucket_at(599_999), bucket_at(600_000), bucket_at(-1)], [0, 0, 1, -1]);
    }
}
