//! The coordination store on Redis.

mod link;
mod settings;
mod store;

pub use settings::{RedisNode, RedisSettings, SentinelSettings};
pub use store::RedisCoordination;
