//! Timers as rows, one storage partition per topic, shard and hour.
//!
//! Hours that are over are not looked at again: a cursor row remembers the first one that may still hold timers. So
//! neither the number of timers that have fired nor their tombstones make a reading dearer.

use std::sync::Arc;

use async_trait::async_trait;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;

use super::schema::TableName;
use super::session::SharedSession;
use super::{errors, statements};
use crate::backends::clock::wall_micros;
use crate::kernel::error::FlowError;
use crate::kernel::time::MICROS_PER_MS;
use crate::kernel::timer::{PARKED_BUCKET, Timer, bucket_of};
use crate::ports::TimerStore;

/// The bucket of the cursor row; its `visit` is the hour.
const CURSOR_BUCKET: i64 = -1;
/// A full hour behind, so that clocks may differ by as much.
const CLOCK_MARGIN_HOURS: i64 = 1;
/// How far the cursor is moved at most by a reading that does not need it.
const CURSOR_STEPS: i64 = 24;

pub(super) struct CassandraTimers {
    session: Arc<SharedSession>,
    topic: String,
    put: PreparedStatement,
    delete: PreparedStatement,
    find: PreparedStatement,
    any: PreparedStatement,
    cursor: PreparedStatement,
    keep_cursor: PreparedStatement,
}

fn at(ms: i64) -> CqlTimestamp {
    CqlTimestamp(ms)
}

fn present_hour() -> i64 {
    bucket_of(wall_micros() / MICROS_PER_MS)
}

impl CassandraTimers {
    pub(super) async fn prepare(session: Arc<SharedSession>, table: &TableName, topic: &str) -> Result<Self, FlowError> {
        Ok(Self {
            put: session.prepare(statements::put_timer(table)).await?,
            delete: session.prepare(statements::delete_timer(table)).await?,
            find: session.prepare(statements::find_timers(table)).await?,
            any: session.prepare(statements::any_timer(table)).await?,
            cursor: session.prepare(statements::timer_cursor(table)).await?,
            keep_cursor: session.prepare(statements::keep_timer_cursor(table)).await?,
            topic: topic.to_owned(),
            session,
        })
    }

    async fn read_cursor(&self, shard: i32) -> Result<Option<i64>, FlowError> {
        const OPERATION: &str = "reading the timer cursor";
        let answer = self.session.driver.execute_unpaged(&self.cursor, (&self.topic, shard, CURSOR_BUCKET)).await;
        let rows = answer.map_err(|error| errors::store(OPERATION, &error))?.into_rows_result().map_err(|error| errors::unexpected(OPERATION, error))?;
        let row = rows.maybe_first_row::<(i32,)>().map_err(|error| errors::unexpected(OPERATION, error))?;
        Ok(row.map(|(hour,)| i64::from(hour)))
    }

    async fn write_cursor(&self, shard: i32, hour: i64) -> Result<(), FlowError> {
        let hour = i32::try_from(hour).unwrap_or(i32::MAX);
        let answer = self.session.driver.execute_unpaged(&self.keep_cursor, (&self.topic, shard, CURSOR_BUCKET, hour)).await;
        answer.map(drop).map_err(|error| errors::store("moving the timer cursor", &error))
    }

    async fn is_empty(&self, shard: i32, hour: i64) -> Result<bool, FlowError> {
        const OPERATION: &str = "looking for timers";
        let answer = self.session.driver.execute_unpaged(&self.any, (&self.topic, shard, hour)).await;
        let rows = answer.map_err(|error| errors::store(OPERATION, &error))?.into_rows_result().map_err(|error| errors::unexpected(OPERATION, error))?;
        Ok(rows.rows_num() == 0)
    }

    // The first hour that may hold timers, moved on over at most `steps` empty ones.
    async fn first_hour(&self, shard: i32, steps: i64) -> Result<i64, FlowError> {
        let last = present_hour() - CLOCK_MARGIN_HOURS;
        let known = self.read_cursor(shard).await?;
        let mut hour = known.unwrap_or(last);
        let limit = last.min(hour.saturating_add(steps));
        while hour < limit && self.is_empty(shard, hour).await? {
            hour += 1;
        }
        if known != Some(hour) {
            self.write_cursor(shard, hour).await?;
        }
        Ok(hour)
    }

    async fn hour(&self, shard: i32, hour: i64, from_ms: i64, until_ms: i64, found: &mut Vec<Timer>) -> Result<(), FlowError> {
        const OPERATION: &str = "reading timers";
        let values = (&self.topic, shard, hour, at(from_ms), at(until_ms));
        let answer = self.session.driver.execute_unpaged(&self.find, values).await.map_err(|error| errors::store(OPERATION, &error))?;
        let rows = answer.into_rows_result().map_err(|error| errors::unexpected(OPERATION, error))?;
        for row in rows.rows::<(CqlTimestamp, String, String, i32)>().map_err(|error| errors::unexpected(OPERATION, error))? {
            let (CqlTimestamp(due_ms), run, node, visit) = row.map_err(|error| errors::unexpected(OPERATION, error))?;
            found.push(Timer { due_ms, shard, bucket: hour, run, node, visit: u32::try_from(visit).unwrap_or(0) });
        }
        Ok(())
    }
}

#[async_trait]
impl TimerStore for CassandraTimers {
    async fn put(&self, timer: &Timer) -> Result<(), FlowError> {
        let visit = i32::try_from(timer.visit).unwrap_or(i32::MAX);
        let values = (&self.topic, timer.shard, timer.bucket, at(timer.due_ms), &timer.run, &timer.node, visit);
        let answer = self.session.driver.execute_unpaged(&self.put, values).await;
        answer.map(drop).map_err(|error| errors::store(format!("keeping a timer of run \"{}\"", timer.run), &error))
    }

    async fn delete(&self, timer: &Timer) -> Result<(), FlowError> {
        let values = (&self.topic, timer.shard, timer.bucket, at(timer.due_ms), &timer.run, &timer.node);
        let answer = self.session.driver.execute_unpaged(&self.delete, values).await;
        answer.map(drop).map_err(|error| errors::store(format!("deleting a timer of run \"{}\"", timer.run), &error))
    }

    async fn find(&self, shard: i32, from_ms: i64, until_ms: i64) -> Result<Vec<Timer>, FlowError> {
        let from_the_start = from_ms == 0;
        let first = self.first_hour(shard, if from_the_start { i64::MAX } else { CURSOR_STEPS }).await?;
        let first = if from_the_start { first } else { bucket_of(from_ms) };
        let mut found = Vec::new();
        for hour in first..=bucket_of(until_ms) {
            self.hour(shard, hour, from_ms, until_ms, &mut found).await?;
        }
        Ok(found)
    }

    async fn parked(&self, shard: i32) -> Result<Vec<Timer>, FlowError> {
        let mut found = Vec::new();
        self.hour(shard, PARKED_BUCKET, 0, i64::MAX, &mut found).await?;
        Ok(found)
    }
}
