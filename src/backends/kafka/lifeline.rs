//! Gives a client its brokers back.
//!
//! A broker that is just starting may answer a question for metadata without naming any broker. librdkafka (2.10 and later;
//! confluentinc/librdkafka#5301) then drops all brokers that it knows, also those of `bootstrap.servers`, and never asks anybody again. So
//! for a while after each trouble with a broker the client is asked whether it still reaches one, and told its first brokers again
//! where it does not.

use std::ffi::CString;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::bindings::rd_kafka_brokers_add;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::KafkaTopics;
use super::config::KafkaSettings;
use crate::backends::lock;

/// How long after the last trouble a client is asked. A broker is through its start by then.
const WATCH: Duration = Duration::from_secs(60);
/// Between two questions.
const PAUSE: Duration = Duration::from_secs(1);
/// How long an answer is waited for. Less than a consumer that closes waits for whoever holds it.
const QUESTION: Duration = Duration::from_secs(1);
/// Between two times that brokers are told, none of which helped: librdkafka remembers each.
const TELL_PAUSE: Duration = Duration::from_secs(10);

/// Of one client.
pub(super) struct Lifeline {
    brokers: CString,
    topic: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watch_until: Option<Instant>,
    asked: Option<Instant>,
    asking: bool,
    told: Option<Instant>,
}

fn is_over(since: Option<Instant>, pause: Duration) -> bool {
    since.is_none_or(|at| at.elapsed() >= pause)
}

impl Lifeline {
    pub(super) fn new(settings: &KafkaSettings, topics: &KafkaTopics) -> Arc<Self> {
        // Addresses were checked before; with a NUL there would be no client.
        let brokers = CString::new(settings.brokers.join(",")).unwrap_or_default();
        Arc::new(Self { brokers, topic: topics.jobs.clone(), state: Mutex::default() })
    }

    /// Any thread: something went wrong between the client and its brokers.
    pub(super) fn shaken(&self, code: Code) {
        if matches!(code, Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) {
            lock(&self.state).watch_until = Some(Instant::now() + WATCH);
        }
    }

    /// To be called again and again by whoever serves the client; does not block.
    pub(super) fn hold<T: Send + Sync + 'static, C: ClientContext + 'static>(self: &Arc<Self>, handle: &Arc<T>, client: fn(&T) -> &Client<C>) {
        {
            let mut state = lock(&self.state);
            let is_watched = state.watch_until.is_some_and(|end| Instant::now() < end);
            if !is_watched || state.asking || !is_over(state.asked, PAUSE) {
                return;
            }
            state.asking = true;
        }
        let (lifeline, handle) = (Arc::clone(self), Arc::clone(handle));
        let asked = std::thread::Builder::new().name("flowcraft-kafka-lifeline".into()).spawn(move || lifeline.ask(client(&handle)));
        if asked.is_err() {
            // No thread to be had now; the next time, perhaps.
            lock(&self.state).asking = false;
        }
    }

    fn ask<C: ClientContext>(&self, client: &Client<C>) {
        let is_reached = client.fetch_metadata(Some(&self.topic), QUESTION).is_ok_and(|found| !found.brokers().is_empty());
        let tells = !is_reached && is_over(lock(&self.state).told, TELL_PAUSE);
        if tells {
            self.tell(client);
        }
        let mut state = lock(&self.state);
        state.asked = Some(Instant::now());
        state.asking = false;
        if is_reached {
            state.told = None;
        } else {
            state.watch_until = Some(Instant::now() + WATCH);
        }
        if tells {
            state.told = state.asked;
        }
    }

    fn tell<C: ClientContext>(&self, client: &Client<C>) {
        // SAFETY: the client outlives the call, the text ends with NUL, and librdkafka copies it. What it knows already it leaves
        // as it is.
        #[allow(unsafe_code)]
        unsafe {
            rd_kafka_brokers_add(client.native_ptr(), self.brokers.as_ptr());
        }
    }
}
