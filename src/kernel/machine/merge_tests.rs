//! What others write into the row of an open run (D8).

use super::*;
use crate::kernel::effects::StoredContext;
use crate::kernel::job;

fn row(text: &str, micros: i64) -> StoredContext {
    StoredContext::document(Some(text.into()), Some(micros))
}

#[test]
fn a_foreign_write_is_merged_by_key_and_our_own_changes_win() {
    let mut machine = Machine::new(Config::default(), 1);
    let mut now = Now::default();
    let job = OutboundJob { run: "r".into(), blueprint: "bp".into(), node: "a".into(), ..OutboundJob::default() };
    machine.assign(0);
    machine.activate(0, now);
    machine.messages(vec![RawMessage { value: Some(job::encode(&job).into_bytes()), ..RawMessage::default() }], now);
    let loads = machine.take_actions().into_iter().find_map(|action| if let Action::Load { handle, .. } = action { Some(handle) } else { None });
    let handle = loads.unwrap();
    machine.loaded(handle, Ok(Some(row(r#"{"ours":1,"theirs":1,"gone":1}"#, 10))), now);
    machine.opened(handle, vec![(1, "a".into())]);
    now.moment = now.moment.after(Duration::from_secs(1));
    let changes = vec![("ours".to_owned(), Some("2".to_owned()))];
    machine.step(handle, Step { seq: 1, changes, checkpoint: "{}".into(), done: vec![1], ..Step::default() }, now);
    machine.take_actions();

    machine.foreign(handle, Some(row(r#"{"ours":3,"theirs":3,"new":3}"#, 20)), now);

    let (mut told, mut written) = (Vec::new(), None);
    for action in machine.take_actions() {
        match action {
            Action::Tell(ToSession::Merge { changes, .. }) => told = changes,
            Action::Write { write, .. } => written = Some(write),
            _ => {}
        }
    }
    let told: Vec<(&str, Option<&str>)> = told.iter().map(|(key, raw)| (key.as_str(), raw.as_deref())).collect();
    assert_eq!(told, [("theirs", Some("3")), ("new", Some("3")), ("gone", None)]);
    let written = written.unwrap();
    assert_eq!(written.document.as_deref(), Some(r#"{"ours":2,"theirs":3,"new":3,"_flowcraft":{}}"#));
    assert!(written.timestamp_micros > 20, "above what it merged");
}
