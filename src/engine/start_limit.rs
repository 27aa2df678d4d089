use std::time::{Duration, Instant};

use crate::kernel::error::FlowError;
use crate::ports::{Host, LogLevel};

/// How long one attempt may take where the start itself may wait for ever, and how often it then tells what it waits for.
const NOTICE_EVERY: Duration = Duration::from_secs(10);
/// The margin by which an attempt ends before its limit: its answer names address and cause, the limit's does not.
const MARGIN: Duration = Duration::from_secs(1);

/// The time a start may take to reach all services together.
#[derive(Debug, Clone)]
pub struct StartLimit {
    limit: Option<Duration>,
    begun: Instant,
}

impl StartLimit {
    /// Begins now, of which `spent` is gone already; without a limit it waits for ever.
    #[must_use]
    pub fn begin(limit: Option<Duration>, spent: Duration) -> Self {
        let now = Instant::now();
        Self { limit, begun: now.checked_sub(spent).unwrap_or(now) }
    }

    /// How long the next attempt at a service may take.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let left = self.left().unwrap_or(NOTICE_EVERY);
        left.saturating_sub((left / 10).min(MARGIN))
    }

    fn left(&self) -> Option<Duration> {
        self.limit.map(|limit| limit.saturating_sub(self.begun.elapsed()))
    }

    /// Waits for a service. `attempt` is told how long it may take; without a limit it is repeated while its error can
    /// pass, and the log tells so.
    ///
    /// # Errors
    /// What the attempt answers, or `StartTimeout` with what was waited for.
    pub async fn wait<T, F, Fut>(&self, host: &dyn Host, waiting_for: &str, mut attempt: F) -> Result<T, FlowError>
    where
        F: FnMut(Duration) -> Fut,
        Fut: Future<Output = Result<T, FlowError>>,
    {
        if let (Some(limit), Some(left)) = (self.limit, self.left()) {
            let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            let late = |_| FlowError::StartTimeout { limit_ms, waiting_for: waiting_for.to_owned() };
            return tokio::time::timeout(left, attempt(self.patience())).await.map_err(late)?;
        }
        loop {
            let notice = tokio::time::Instant::now() + NOTICE_EVERY;
            let cause = match tokio::time::timeout_at(notice, attempt(self.patience())).await {
                Ok(Err(error)) if error.retryable() => error.to_string(),
                Ok(result) => return result,
                Err(_) => "no answer".to_owned(),
            };
            tokio::time::sleep_until(notice).await;
            host.log(LogLevel::Warn, format!("[KafkaAdapter] start() is still {waiting_for}: {cause}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::kernel::error::Service;
    use crate::kernel::lifecycle::Lifecycle;
    use crate::ports::OutboundJob;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Host for Lines {
        fn log(&self, _level: LogLevel, text: String) {
            self.0.lock().unwrap().push(text);
        }
        fn state(&self, _state: Lifecycle, _detail: &str) {}
        fn ask_for_pulse(&self) {}
        fn hand_over(&self, _token: u64, _job: &OutboundJob) {}
        fn settle(&self, _submission: u64, _result: Result<(), FlowError>) {}
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    fn away() -> FlowError {
        FlowError::Unreachable { service: Service::Kafka, address: "h:1".into(), cause: "refused".into() }
    }

    #[test]
    fn what_was_spent_before_counts() {
        run(async {
            let limit = StartLimit::begin(Some(Duration::from_millis(300)), Duration::from_millis(200));
            let begun = Instant::now();
            let result: Result<(), _> = limit.wait(&Lines::default(), "reaching Kafka", |_| std::future::pending()).await;
            assert!(begun.elapsed() < Duration::from_millis(250));
            let expected = FlowError::StartTimeout { limit_ms: 300, waiting_for: "reaching Kafka".into() };
            assert_eq!(result.unwrap_err().to_string(), expected.to_string());
        });
    }

    #[test]
    fn an_attempt_ends_before_the_limit_so_that_its_answer_counts() {
        run(async {
            let limit = StartLimit::begin(Some(Duration::from_millis(500)), Duration::ZERO);
            let result: Result<(), _> = limit
                .wait(&Lines::default(), "reaching Kafka", |patience| async move {
                    tokio::time::sleep(patience).await;
                    Err(away())
                })
                .await;
            assert_eq!(result.unwrap_err().to_string(), away().to_string());
        });
    }

    #[test]
    fn what_cannot_pass_ends_even_an_endless_wait() {
        run(async {
            let limit = StartLimit::begin(None, Duration::ZERO);
            let lines = Lines::default();
            let refused = || FlowError::GroupProtocol { group: "g".into() };
            let result: Result<(), _> = limit.wait(&lines, "reaching Kafka", |_| async { Err(refused()) }).await;
            assert_eq!(result.unwrap_err().to_string(), refused().to_string());
            assert!(lines.0.lock().unwrap().is_empty());
        });
    }
}
