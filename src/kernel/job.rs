//! The wire format of a job: `{"runId","blueprintId","nodeId"}`, as JavaScript workers write it; and of a
//! command (D12): `{"runId","command":{...}}`.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::document::push_json_string;
use super::effects::OutboundJob;
use super::error::Code;

/// Longest accepted id, bytes. Ids are keys of rows, messages and locks; Cassandra's own limit for a
/// partition key is 64 KiB.
pub const MAX_ID_BYTES: usize = 1024;
/// Longest accepted job message, bytes. A well-formed one is three ids and their names.
pub const MAX_JOB_BYTES: usize = 64 * 1024;
/// Longest accepted command message, bytes: it may carry the output of a node, and brokers take 1 MiB unless told
/// otherwise.
pub const MAX_COMMAND_BYTES: usize = 1024 * 1024;

/// A decoded job or command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Job {
    /// Run id.
    pub run: String,
    /// Blueprint id.
    pub blueprint: String,
    /// Node id.
    pub node: String,
    /// Raw JSON of a command; blueprint and node are then empty.
    pub command: Option<String>,
}

#[derive(Deserialize)]
struct CommandOnly<'a> {
    #[serde(borrow)]
    command: &'a RawValue,
}

/// Why a message is not a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobProblem {
    /// Stable code.
    pub code: Code,
    /// In words, without the message's content.
    pub problem: String,
    /// The run, where it could still be read.
    pub run: Option<String>,
}

fn field(object: &serde_json::Map<String, Value>, name: &str) -> Result<String, (Code, String)> {
    match object.get(name) {
        None => Err((Code::JobField, format!("field \"{name}\" is missing"))),
        Some(Value::String(text)) if text.is_empty() => Err((Code::JobField, format!("field \"{name}\" is empty"))),
        Some(Value::String(text)) if text.len() > MAX_ID_BYTES => {
            Err((Code::JobTooLarge, format!("field \"{name}\" has {} bytes, above {MAX_ID_BYTES}", text.len())))
        }
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err((Code::JobField, format!("field \"{name}\" is not a string"))),
    }
}

/// Decodes the value of a job message. Unknown fields are ignored.
///
/// # Errors
/// A [`JobProblem`] naming what is wrong.
pub fn decode(value: &[u8]) -> Result<Job, JobProblem> {
    let refuse = |code, problem: String| JobProblem { code, problem, run: None };
    let too_large = |limit: usize| refuse(Code::JobTooLarge, format!("{} bytes, above {limit}", value.len()));
    if value.len() > MAX_COMMAND_BYTES {
        return Err(too_large(MAX_COMMAND_BYTES));
    }
    // Only a command may be longer than a job.
    let bad = |code, problem: String| if value.len() > MAX_JOB_BYTES { too_large(MAX_JOB_BYTES) } else { refuse(code, problem) };
    let parsed: Value = serde_json::from_slice(value).map_err(|e| bad(Code::JobNotJson, format!("not JSON ({e})")))?;
    let Value::Object(object) = parsed else {
        return Err(bad(Code::JobNotObject, "JSON, but not an object".into()));
    };
    let run = field(&object, "runId");
    let known = run.clone().ok();
    let problem = |(code, problem)| JobProblem { code, problem, run: known.clone() };
    let run = run.map_err(problem)?;
    if let Some(Value::Object(_)) = object.get("command") {
        let command = serde_json::from_slice::<CommandOnly<'_>>(value).map_err(|e| refuse(Code::JobField, format!("field \"command\": {e}")))?;
        return Ok(Job { run, command: Some(command.command.get().to_owned()), ..Job::default() });
    }
    if value.len() > MAX_JOB_BYTES {
        return Err(too_large(MAX_JOB_BYTES));
    }
    Ok(Job { run, blueprint: field(&object, "blueprintId").map_err(problem)?, node: field(&object, "nodeId").map_err(problem)?, command: None })
}

/// Encodes a job exactly as the JavaScript package does, or a command.
#[must_use]
pub fn encode(job: &OutboundJob) -> String {
    let OutboundJob { run, blueprint, node, command, .. } = job;
    let mut out = String::with_capacity(run.len() + blueprint.len() + node.len() + command.as_ref().map_or(0, String::len) + 48);
    out.push_str("{\"runId\":");
    push_json_string(&mut out, run);
    match command {
        Some(command) => {
            out.push_str(",\"command\":");
            out.push_str(command);
        }
        None => {
            for (name, text) in [(",\"blueprintId\":", blueprint), (",\"nodeId\":", node)] {
                out.push_str(name);
                push_json_string(&mut out, text);
            }
        }
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let text = encode(&OutboundJob { run: "r\"1".into(), blueprint: "bp".into(), node: "nöde".into(), ..OutboundJob::default() });
        assert_eq!(decode(text.as_bytes()).unwrap(), Job { run: "r\"1".into(), blueprint: "bp".into(), node: "nöde".into(), command: None });
    }

    #[test]
    fn a_command_keeps_its_text() {
        let command = Some(r#"{"kind":"resume","output":[1.0e3, "ü"]}"#.to_owned());
        let text = encode(&OutboundJob { run: "r".into(), command: command.clone(), ..OutboundJob::default() });
        assert_eq!(decode(text.as_bytes()).unwrap(), Job { run: "r".into(), command, ..Job::default() });
    }

    #[test]
    fn a_command_may_be_as_large_as_a_broker_takes() {
        let command = |bytes: usize| format!(r#"{{"runId":"r","command":{{"output":"{}"}}}}"#, "x".repeat(bytes));
        assert!(decode(command(MAX_COMMAND_BYTES - 100).as_bytes()).is_ok());
        assert_eq!(decode(command(MAX_COMMAND_BYTES).as_bytes()).unwrap_err().code, Code::JobTooLarge);
    }

    #[test]
    fn every_bad_message_has_its_code() {
        let long = format!("{{\"runId\":\"{}\",\"blueprintId\":\"b\",\"nodeId\":\"n\"}}", "x".repeat(MAX_ID_BYTES + 1));
        let huge = "x".repeat(MAX_JOB_BYTES + 1);
        let large = format!("{{\"runId\":\"r\",\"x\":\"{}\"}}", "x".repeat(MAX_JOB_BYTES));
        let table: [(&str, Code); 10] = [
            ("", Code::JobNotJson),
            ("{", Code::JobNotJson),
            ("null", Code::JobNotObject),
            ("[1]", Code::JobNotObject),
            ("{}", Code::JobField),
            (r#"{"runId":"","blueprintId":"b","nodeId":"n"}"#, Code::JobField),
            (r#"{"runId":"r","blueprintId":"b","nodeId":7}"#, Code::JobField),
            (&long, Code::JobTooLarge),
            (&huge, Code::JobTooLarge),
            (&large, Code::JobTooLarge),
        ];
        for (text, code) in table {
            assert_eq!(decode(text.as_bytes()).unwrap_err().code, code, "{}", text.get(..text.len().min(60)).unwrap());
        }
        assert_eq!(decode(br#"{"runId":"r","blueprintId":"b"}"#).unwrap_err().run.as_deref(), Some("r"));
    }
}
