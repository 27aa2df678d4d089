//! Which runs are `running`, so that stalled ones are found without a scan of the status table.
//!
//! One storage partition per ten minutes and shard; a *directory* names those that may hold rows. A row is written where its
//! run was marked as running, stays there, and goes with the run's outcome. One that nobody took out (its worker was killed)
//! says nothing by itself: whoever finds it looks at the status row, which decides.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use tokio::task::JoinSet;

use super::schema::TableName;
use super::session::SharedSession;
use super::{errors, statements};
use crate::backends::clock::wall_micros;
use crate::backends::lock;
use crate::kernel::error::FlowError;
use crate::kernel::time::MICROS_PER_MS;
use crate::kernel::timestamps::WriteClock;

/// Small enough that a busy group's tombstones in one of its partitions stay far below what servers refuse to read.
const BUCKET_MS: i64 = 600_000;
/// Partitions of a bucket.
const SHARDS: i32 = 64;
/// Partitions of the directory have buckets or times where others have runs.
const DIRECTORY_SHARD: i32 = -1;
const DIRECTORY_BUCKET: i64 = 0;
/// Holds when the status table was last searched whole.
const SEARCHES_BUCKET: i64 = -1;
/// A bucket that is so much older gets no rows any more, whoever's clock is wrong.
const SETTLED_BUCKETS: i64 = 6;
/// In a younger one a row may be there already, and the mark that it goes with not yet.
const FRESH_BUCKETS: i64 = 2;
/// Open runs are marked again every 30 s: what was not for so long is in other hands.
const HELD_BUCKETS: i64 = 1;
/// Storage partitions that are read at once.
const PAGE_PLACES: usize = 16;

/// A storage partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    bucket: i64,
    shard: i32,
}

const DIRECTORY: Place = Place { bucket: DIRECTORY_BUCKET, shard: DIRECTORY_SHARD };
const SEARCHES: Place = Place { bucket: SEARCHES_BUCKET, shard: DIRECTORY_SHARD };

pub(super) struct RunningIndex {
    session: Arc<SharedSession>,
    put: PreparedStatement,
    delete: PreparedStatement,
    find: PreparedStatement,
    state: PreparedStatement,
    own: Mutex<Own>,
}

/// What this process has written.
#[derive(Default)]
struct Own {
    clock: WriteClock,
    entered: HashMap<String, Entered>,
    /// Buckets put into the directory.
    listed: HashSet<i64>,
}

#[derive(Clone, Copy)]
struct Entered {
    bucket: i64,
    micros: i64,
    /// In which bucket it was marked last.
    marked: i64,
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

impl Own {
    fn next_micros(&mut self) -> i64 {
        self.clock.next(wall_micros())
    }

    /// The row to write for a run that is marked now; `None` where it has one.
    fn enter(&mut self, run: &str, present: i64) -> Option<Entered> {
        if let Some(entered) = self.entered.get_mut(run) {
            entered.marked = present;
            return None;
        }
        let entered = Entered { bucket: present, micros: self.next_micros(), marked: present };
        self.entered.insert(run.to_owned(), entered);
        Some(entered)
    }

    /// Runs that have gone to another process are not told to have left this one.
    fn list(&mut self, present: i64) {
        self.entered.retain(|_, entered| entered.marked + HELD_BUCKETS >= present);
        self.listed.retain(|listed| listed + HELD_BUCKETS >= present);
        self.listed.insert(present);
    }
}

/// What the directory says: of a bucket, all shards may hold rows until it is settled, and then those alone that are named.
#[derive(Debug, Default)]
struct Directory {
    buckets: BTreeSet<i64>,
    places: BTreeSet<Place>,
}

impl Directory {
    fn parse(rows: &[String]) -> Self {
        let mut directory = Self::default();
        for text in rows {
            match text.parse() {
                Ok(bucket) => drop(directory.buckets.insert(bucket)),
                Err(_) => directory.places.extend(Place::decode(text)),
            }
        }
        directory
    }

    /// Places to look at, in their order, and where to go on after them.
    fn page(&self, from: Option<Place>, last_bucket: i64) -> (Vec<Place>, Option<Place>) {
        let whole = self.buckets.iter().flat_map(|bucket| (0..SHARDS).map(|shard| Place { bucket: *bucket, shard }));
        let all: BTreeSet<Place> = whole.chain(self.places.iter().copied()).collect();
        let mut left = all.into_iter().filter(|place| from.is_none_or(|from| *place >= from) && place.bucket <= last_bucket);
        let page = left.by_ref().take(PAGE_PLACES).collect();
        (page, left.next())
    }
}

/// What was found in a place.
struct Look {
    place: Place,
    stalled: Vec<String>,
    /// Whether it holds rows still.
    is_used: bool,
}

impl RunningIndex {
    /// `statuses` is the table of whose runs it tells, `table` its own.
    pub(super) async fn prepare(session: Arc<SharedSession>, statuses: &TableName, table: &TableName) -> Result<Self, FlowError> {
        Ok(Self {
            put: session.prepare(statements::put_running(table)).await?,
            delete: session.prepare(statements::delete_running(table)).await?,
            find: session.prepare(statements::find_running(table)).await?,
            state: session.prepare(statements::run_state(statuses)).await?,
            own: Mutex::default(),
            session,
        })
    }

    /// The run is running. Written once, until it leaves.
    pub(super) async fn enter(&self, run: &str) -> Result<(), FlowError> {
        // Noted before it is written: an outcome may overtake it.
        let Some(entered) = lock(&self.own).enter(run, present_bucket()) else { return Ok(()) };
        let written = self.write(entered, run).await;
        if written.is_err() {
            lock(&self.own).entered.remove(run);
        }
        written
    }

    async fn write(&self, entered: Entered, run: &str) -> Result<(), FlowError> {
        // First the directory: a row in a bucket that it does not name would never be found.
        let is_listed = lock(&self.own).listed.contains(&entered.bucket);
        if !is_listed {
            self.put_now(DIRECTORY, &entered.bucket.to_string()).await?;
            lock(&self.own).list(entered.bucket);
        }
        self.put(entered.place_of(run), run, entered.micros).await
    }

    /// The run is not running any more, or somebody else takes care of it.
    pub(super) async fn leave(&self, run: &str) -> Result<(), FlowError> {
        let Some(entered) = lock(&self.own).entered.remove(run) else { return Ok(()) };
        // With the time of the row: it goes in whatever order the two arrive, and what somebody else has written later stays.
        self.delete(entered.place_of(run), run, entered.micros).await
    }

    async fn put_now(&self, place: Place, text: &str) -> Result<(), FlowError> {
        let micros = lock(&self.own).next_micros();
        self.put(place, text, micros).await
    }

    async fn delete_now(&self, place: Place, text: &str) -> Result<(), FlowError> {
        let micros = lock(&self.own).next_micros();
        self.delete(place, text, micros).await
    }

    async fn put(&self, place: Place, text: &str, micros: i64) -> Result<(), FlowError> {
        let answer = self.session.driver.execute_unpaged(&self.put, (place.shard, place.bucket, text, micros)).await;
        answer.map(drop).map_err(|error| errors::store(format!("entering \"{text}\" in the index of running runs"), &error))
    }

    async fn delete(&self, place: Place, text: &str, micros: i64) -> Result<(), FlowError> {
        let answer = self.session.driver.execute_unpaged(&self.delete, (micros, place.shard, place.bucket, text)).await;
        answer.map(drop).map_err(|error| errors::store(format!("taking \"{text}\" out of the index of running runs"), &error))
    }

    async fn rows(&self, place: Place) -> Result<Vec<String>, FlowError> {
        const OPERATION: &str = "looking for running runs";
        let answer = self.session.driver.execute_unpaged(&self.find, (place.shard, place.bucket)).await;
        let rows = answer.map_err(|error| errors::store(OPERATION, &error))?.into_rows_result().map_err(|error| errors::unexpected(OPERATION, error))?;
        let rows = rows.rows::<(String,)>().map_err(|error| errors::unexpected(OPERATION, error))?.map(|row| row.map(|(run,)| run));
        rows.collect::<Result<Vec<_>, _>>().map_err(|error| errors::unexpected(OPERATION, error))
    }

    /// Runs that were last marked before `before_ms`, in some of the places, and where to go on.
    ///
    /// # Errors
    /// `Store`.
    pub(super) async fn stalled(self: &Arc<Self>, before_ms: i64, from: Option<Place>) -> Result<(Vec<String>, Option<Place>), FlowError> {
        let last = bucket_at(before_ms);
        let directory = Directory::parse(&self.rows(DIRECTORY).await?);
        let (places, next) = directory.page(from, last);
        let mut looks = JoinSet::new();
        for place in places {
            let index = Arc::clone(self);
            looks.spawn(async move { index.look(place, before_ms).await });
        }
        let mut found = Vec::new();
        while let Some(look) = looks.join_next().await {
            found.push(look.map_err(|error| errors::unexpected("looking for running runs", error))??);
        }
        found.sort_unstable_by_key(|look| look.place);
        for look in found.iter().filter(|look| look.place.bucket + SETTLED_BUCKETS < last) {
            self.settle(look, &directory).await?;
        }
        Ok((found.into_iter().flat_map(|look| look.stalled).collect(), next))
    }

    async fn look(&self, place: Place, before_ms: i64) -> Result<Look, FlowError> {
        let mut look = Look { place, stalled: Vec::new(), is_used: false };
        for run in self.rows(place).await? {
            let marked_ms = self.marked_ms(&run).await?;
            if marked_ms.is_none() && place.bucket + FRESH_BUCKETS <= present_bucket() {
                self.delete_now(place, &run).await?;
                continue;
            }
            look.is_used = true;
            if marked_ms.is_some_and(|marked| marked < before_ms) {
                look.stalled.push(run);
            }
        }
        Ok(look)
    }

    /// Makes the directory name the place alone, or not any more: old buckets cost no more than the rows that are left in them.
    /// Those of a bucket come in their order, in one search, so that after the last one none is left to be named.
    async fn settle(&self, look: &Look, directory: &Directory) -> Result<(), FlowError> {
        let (place, text) = (look.place, look.place.encode());
        match (look.is_used, directory.places.contains(&place)) {
            (true, false) => self.put_now(DIRECTORY, &text).await?,
            (false, true) => self.delete_now(DIRECTORY, &text).await?,
            _ => {}
        }
        if place.shard + 1 == SHARDS && directory.buckets.contains(&place.bucket) {
            self.delete_now(DIRECTORY, &place.bucket.to_string()).await?;
        }
        Ok(())
    }

    /// When the run was last marked as running; `None` where it is not running.
    async fn marked_ms(&self, run: &str) -> Result<Option<i64>, FlowError> {
        let operation = || format!("reading the status of run \"{run}\"");
        let answer = self.session.driver.execute_unpaged(&self.state, (run,)).await.map_err(|error| errors::store(operation(), &error))?;
        let rows = answer.into_rows_result().map_err(|error| errors::unexpected(operation(), error))?;
        let row = rows.maybe_first_row::<(Option<String>, Option<CqlTimestamp>)>().map_err(|error| errors::unexpected(operation(), error))?;
        Ok(row.and_then(|(status, marked)| (status.as_deref() == Some("running")).then_some(marked.map_or(i64::MIN, |at| at.0))))
    }

    /// When a search of the whole status table began that came to its end, milliseconds since the epoch.
    pub(super) async fn last_full_search(&self) -> Result<Option<i64>, FlowError> {
        Ok(self.rows(SEARCHES).await?.iter().filter_map(|text| text.parse().ok()).max())
    }

    /// Notes such a search.
    pub(super) async fn note_full_search(&self, began_ms: i64) -> Result<(), FlowError> {
        let before = self.rows(SEARCHES).await?;
        let now = began_ms.to_string();
        self.put_now(SEARCHES, &now).await?;
        for text in before.iter().filter(|text| **text != now) {
            self.delete_now(SEARCHES, text).await?;
        }
        Ok(())
    }
}

impl Entered {
    fn place_of(self, run: &str) -> Place {
        Place { bucket: self.bucket, shard: shard_of(run) }
    }
}

impl Place {
    /// As it stands in the directory and in a page mark.
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

    fn place(bucket: i64, shard: i32) -> Place {
        Place { bucket, shard }
    }

    #[test]
    fn places_survive_the_crossing() {
        assert_eq!(Place::decode(&place(2_833_333, 7).encode()), Some(place(2_833_333, 7)));
        for bad in ["", "1", "1:", "x:1", "1:-1", "1:64"] {
            assert_eq!(Place::decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn shards_are_those_of_every_version() {
        assert_eq!(["", "a", "foobar"].map(shard_of), [5, 44, 40]);
        let used: HashSet<i32> = (0..1_000).map(|run| shard_of(&format!("run-{run}"))).collect();
        assert_eq!(used.len(), usize::try_from(SHARDS).unwrap());
    }

    #[test]
    fn buckets_are_of_ten_minutes() {
        assert_eq!([bucket_at(0), bucket_at(599_999), bucket_at(600_000), bucket_at(-1)], [0, 0, 1, -1]);
    }

    #[test]
    fn a_page_goes_through_buckets_and_the_places_that_are_left_of_settled_ones() {
        let directory = Directory::parse(&["9", "3:7", "3:60", "8:1", "junk", "12"].map(str::to_owned));
        let (first, next) = directory.page(None, 9);
        assert_eq!(first[..4], [place(3, 7), place(3, 60), place(8, 1), place(9, 0)]);
        assert_eq!((first.len(), next), (PAGE_PLACES, Some(place(9, 13))));
        let mut seen = first.len();
        let mut from = next;
        while from.is_some() {
            let (page, next) = directory.page(from, 9);
            seen += page.len();
            from = next;
        }
        assert_eq!(seen, 3 + 64, "bucket 12 is younger than what is looked for");
        assert_eq!(directory.page(None, 2), (Vec::new(), None));
    }

    #[test]
    fn what_is_not_marked_any_more_is_forgotten() {
        let mut own = Own::default();
        assert!(own.enter("gone", 10).is_some() && own.enter("held", 10).is_some());
        assert!(own.enter("held", 11).is_none());
        own.list(12);
        assert_eq!(own.entered.keys().collect::<Vec<_>>(), ["held"]);
        assert_eq!(own.entered["held"].bucket, 10, "its row stays where it is");
        assert!(own.enter("later", 12).unwrap().micros > own.entered["held"].micros);
    }
}
