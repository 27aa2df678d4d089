//! How a run ended, and the JSON document that tells clients (spec §2.5).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::document::{Document, push_json_string};

/// What stands under `payload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Put together from the run's document.
    Assemble,
    /// No payload: the run was rejected, as `FlowRuntime.run` would throw.
    Absent,
    /// As JavaScript wrote it.
    Raw(String),
}

/// An outcome as a session reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `completed`, `failed`, `awaiting`, `cancelled` or `parked`; `running` where all that is left are nodes that wait for
    /// their next attempt.
    pub status: String,
    /// Message of the first error.
    pub reason: Option<String>,
    /// Raw JSON array of the projected errors.
    pub errors: Option<String>,
    /// Bookkeeping keys of the document that clients do not see.
    pub hidden: Vec<String>,
    /// The payload.
    pub payload: Payload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    status: String,
    reason: Option<String>,
    #[serde(borrow)]
    errors: Option<&'a RawValue>,
    #[serde(default)]
    hidden: Vec<String>,
    // Some(None) is an explicit null, None is absence.
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&'de RawValue>::deserialize(deserializer).map(Some)
}

impl Outcome {
    /// Reads the `outcomeJson` of a step.
    ///
    /// # Errors
    /// serde's message when the glue sent something else (a bug of ours).
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let wire: Wire<'_> = serde_json::from_str(text)?;
        let payload = match wire.payload.map(RawValue::get) {
            None => Payload::Assemble,
            Some("null") => Payload::Absent,
            Some(raw) => Payload::Raw(raw.to_owned()),
        };
        let errors = wire.errors.map(RawValue::get).filter(|raw| *raw != "null" && *raw != "[]").map(str::to_owned);
        Ok(Self { status: wire.status, reason: wire.reason, errors, hidden: wire.hidden, payload })
    }

    /// An outcome without payload.
    #[must_use]
    pub fn bare(status: &str, reason: &str) -> Self {
        Self { status: status.to_owned(), reason: Some(reason.to_owned()), errors: None, hidden: Vec::new(), payload: Payload::Absent }
    }

    /// Whether a later message can still make the run go on.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self.status.as_str(), "awaiting" | "parked") && !self.is_resting()
    }

    /// Whether the run leaves memory until a timer brings it back, and is as it was for everybody else.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.status == "running"
    }

    /// The text of `status_data`.
    #[must_use]
    pub fn status_data(&self, run: &str, document: &Document) -> String {
        let mut out = String::with_capacity(document.bytes() * 2 + 128);
        out.push_str("{\"status\":");
        push_json_string(&mut out, &self.status);
        match &self.payload {
            Payload::Absent => {}
            Payload::Raw(raw) => {
                out.push_str(",\"payload\":");
                out.push_str(raw);
            }
            Payload::Assemble => self.push_payload(&mut out, run, document),
        }
        if let Some(reason) = &self.reason {
            out.push_str(",\"reason\":");
            push_json_string(&mut out, reason);
        }
        out.push('}');
        out
    }

    fn push_payload(&self, out: &mut String, run: &str, document: &Document) {
        let mut execution_id = String::new();
        push_json_string(&mut execution_id, run);
        let context = document.assemble_visible(&self.hidden, &[("_executionId", &execution_id)]);
        out.push_str(",\"payload\":{\"context\":");
        out.push_str(&context);
        out.push_str(",\"serializedContext\":");
        push_json_string(out, &context);
        out.push_str(",\"status\":");
        push_json_string(out, &self.status);
        if let Some(errors) = &self.errors {
            out.push_str(",\"errors\":");
            out.push_str(errors);
        }
        out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        Document::parse(r#"{"blueprintId":"b","a":1}"#).unwrap().document
    }

    #[test]
    fn completed_has_the_shape_of_the_javascript_package() {
        let outcome = Outcome::parse(r#"{"status":"completed","hidden":["blueprintId"]}"#).unwrap();
        assert_eq!(
            outcome.status_data("r", &document()),
            r#"{"status":"completed","payload":{"context":{"a":1,"_executionId":"r"},"serializedContext":"{\"a\":1,\"_executionId\":\"r\"}","status":"completed"}}"#
        );
    }

    #[test]
    fn null_and_absent_payload_differ() {
        let rejected = Outcome::parse(r#"{"status":"failed","reason":"x","payload":null}"#).unwrap();
        assert_eq!(rejected.status_data("r", &document()), r#"{"status":"failed","reason":"x"}"#);
        let own = Outcome::parse(r#"{"status":"cancelled","payload":{"context":{}}}"#).unwrap();
        assert_eq!(own.status_data("r", &document()), r#"{"status":"cancelled","payload":{"context":{}}}"#);
    }
}
