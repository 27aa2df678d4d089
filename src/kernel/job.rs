//! The wire format of a job: `{"runId","blueprintId","nodeId"}`, as JavaScript workers write it.

use serde_json::Value;

use super::error::Code;

/// Longest accepted id, bytes. Ids are keys of rows, messages and locks; Cassandra's own limit for a
/// partition key is 64 KiB.
pub const MAX_ID_BYTES: usize = 1024;
/// Longest accepted job message, bytes. A well-formed one is three ids and their names.
pub const MAX_JOB_BYTES: usize = 64 * 1024;

/// A decoded job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Run id.
    pub run: String,
    /// Blueprint id.
    pub blueprint: String,
    /// Node id.
    pub node: String,
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
    if value.len() > MAX_JOB_BYTES {
        return Err(refuse(Code::JobTooLarge, format!("{} bytes, above {MAX_JOB_BYTES}", value.len())));
    }
    let parsed: Value = serde_json::from_slice(value).map_err(|e| refuse(Code::JobNotJson, format!("not JSON ({e})")))?;
    let Value::Object(object) = parsed else {
        return Err(refuse(Code::JobNotObject, "JSON, but not an object".into()));
    };
    let run = field(&object, "runId");
    let known = run.clone().ok();
    let problem = |(code, problem)| JobProblem { code, problem, run: known.clone() };
    Ok(Job { run: run.map_err(problem)?, blueprint: field(&object, "blueprintId").map_err(problem)?, node: field(&object, "nodeId").map_err(problem)? })
}

/// Encodes a job exactly as the JavaScript package does.
#[must_use]
pub fn encode(run: &str, blueprint: &str, node: &str) -> String {
    let mut out = String::with_capacity(run.len() + blueprint.len() + node.len() + 48);
    for (name, text) in [("{\"runId\":", run), (",\"blueprintId\":", blueprint), (",\"nodeId\":", node)] {
        out.push_str(name);
        super::document::push_json_string(&mut out, text);
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let text = encode("r\"1", "bp", "nöde");
        assert_eq!(decode(text.as_bytes()).unwrap(), Job { run: "r\"1".into(), blueprint: "bp".into(), node: "nöde".into() });
    }

    #[test]
    fn every_bad_message_has_its_code() {
        let long = format!("{{\"runId\":\"{}\",\"blueprintId\":\"b\",\"nodeId\":\"n\"}}", "x".repeat(MAX_ID_BYTES + 1));
        let huge = "x".repeat(MAX_JOB_BYTES + 1);
        let table: [(&str, Code); 9] = [
            ("", Code::JobNotJson),
            ("{", Code::JobNotJson),
            ("null", Code::JobNotObject),
            ("[1]", Code::JobNotObject),
            ("{}", Code::JobField),
            (r#"{"runId":"","blueprintId":"b","nodeId":"n"}"#, Code::JobField),
            (r#"{"runId":"r","blueprintId":"b","nodeId":7}"#, Code::JobField),
            (&long, Code::JobTooLarge),
            (&huge, Code::JobTooLarge),
        ];
        for (text, code) in table {
            assert_eq!(decode(text.as_bytes()).unwrap_err().code, code, "{}", text.get(..text.len().min(60)).unwrap());
        }
        assert_eq!(decode(br#"{"runId":"r","blueprintId":"b"}"#).unwrap_err().run.as_deref(), Some("r"));
    }
}
