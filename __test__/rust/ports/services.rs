//! Where the real services are, and names that no other test uses.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The variable's value; `None` skips the test, unless services are required.
pub fn address(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    let required = std::env::var("REQUIRE_SERVICES").is_ok_and(|flag| flag == "1");
    assert!(value.is_some() || !required, "REQUIRE_SERVICES=1, but {variable} is not set");
    value
}

/// A name of letters, digits and underscores that is unique among tests and runs.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    format!("{prefix}_{:x}_{}_{}", now, std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
