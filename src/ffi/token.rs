use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::bridge::Bridge;
use crate::backends::js::JsCaller;
use crate::backends::kafka::{Token, TokenSource};
use crate::backends::secret::Secret;

/// How long the user's token provider may take.
const LIMIT: Duration = Duration::from_secs(20);

/// OAUTHBEARER tokens from the `oauthBearerProvider` of a kafkajs client.
pub struct JsTokens {
    bridge: Arc<Bridge>,
    runtime: tokio::runtime::Handle,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    token: Secret,
    lifetime_ms: i64,
    principal: Option<String>,
}

impl JsTokens {
    /// Must be made inside the runtime.
    pub fn new(bridge: Arc<Bridge>) -> Self {
        Self { bridge, runtime: tokio::runtime::Handle::current() }
    }
}

impl TokenSource for JsTokens {
    fn token(&self) -> Result<Token, String> {
        // librdkafka asks from a thread of its own, which may block.
        let answer = self.runtime.block_on(async { tokio::time::timeout(LIMIT, self.bridge.call("kafka.token", "{}".into())).await });
        let text = answer.map_err(|_| format!("the token provider did not answer within {} s", LIMIT.as_secs()))?.map_err(|error| error.to_string())?;
        // The message of a parse error could quote the token.
        let wire: Wire = serde_json::from_str(&text).map_err(|_| "the token provider answered without token and lifetimeMs".to_owned())?;
        Ok(Token { token: wire.token, lifetime_ms: wire.lifetime_ms, principal: wire.principal.unwrap_or_default() })
    }
}
