//! A run's state as an ordered map of keys to raw JSON text.
//!
//! Values are never parsed here: a step replaces the keys it changed and the document is put
//! together from the pieces, so its cost is that of copying bytes.

use std::collections::HashMap;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The reserved key that carries our bookkeeping inside `context_data` (design D8).
pub const RESERVED_KEY: &str = "_flowcraft";

/// A key with its raw JSON value.
pub type Entry = (String, String);

/// Why a stored document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON at all, or not an object.
    #[error("{0}")]
    NotAnObject(String),
}

/// Ordered keys with raw JSON values; insertion order is kept, as in a JavaScript object.
#[derive(Debug, Clone, Default)]
pub struct Document {
    slots: Vec<Option<Entry>>,
    index: HashMap<String, usize>,
    bytes: usize,
    by_key: bool,
}

/// A stored document, split into what users own and what we keep.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// The users' keys.
    pub document: Document,
    /// Raw JSON of the reserved key.
    pub checkpoint: Option<String>,
}

struct RawEntries(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for RawEntries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawEntries;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(16));
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(RawEntries(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// What is wrong with a text, without quoting it: values of a run's context belong in no message.
fn problem(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => "JSON, but not an object".to_owned(),
        _ => format!("not JSON ({error})"),
    }
}

impl Document {
    /// An empty one that is published in the order of its keys: a store that keeps a row per key does not know
    /// another order, and the same outcome must have the same bytes whoever publishes it (G4).
    #[must_use]
    pub fn by_key() -> Self {
        Self { by_key: true, ..Self::default() }
    }

    /// Parses a stored document.
    ///
    /// # Errors
    /// When the text is not a JSON object. NULL cells, JSON `null` and empty strings are refused as
    /// well: treating them as empty would overwrite what an operator may still repair.
    pub fn parse(text: &str) -> Result<Stored, DocumentError> {
        let RawEntries(entries) = serde_json::from_str(text).map_err(|error| DocumentError::NotAnObject(problem(&error)))?;
        let mut stored = Stored::default();
        for (key, raw) in entries {
            if key == RESERVED_KEY {
                stored.checkpoint = Some(raw.get().to_owned());
            } else {
                stored.document.set(key, raw.get().to_owned());
            }
        }
        Ok(stored)
    }

    /// Sets a key; a known key keeps its place, a new one goes to the end.
    pub fn set(&mut self, key: String, raw: String) {
        self.bytes += key.len() + raw.len();
        if let Some(slot) = self.index.get(&key).and_then(|at| self.slots.get_mut(*at)) {
            if let Some((old_key, old)) = slot.replace((key, raw)) {
                self.bytes -= old_key.len() + old.len();
            }
            return;
        }
        self.index.insert(key.clone(), self.slots.len());
        self.slots.push(Some((key, raw)));
    }

    /// Deletes a key.
    pub fn delete(&mut self, key: &str) {
        let removed = self.index.remove(key).and_then(|at| self.slots.get_mut(at)).and_then(Option::take);
        if let Some((old_key, old)) = removed {
            self.bytes -= old_key.len() + old.len();
        }
        if self.slots.len() > 64 && self.index.len() * 2 < self.slots.len() {
            self.compact();
        }
    }

    fn compact(&mut self) {
        self.slots.retain(Option::is_some);
        self.index = self.slots.iter().enumerate().filter_map(|(at, slot)| slot.as_ref().map(|(key, _)| (key.clone(), at))).collect();
    }

    /// Applies a change: a raw value sets, `None` deletes.
    pub fn apply(&mut self, key: String, raw: Option<String>) {
        match raw {
            Some(raw) => self.set(key, raw),
            None => self.delete(&key),
        }
    }

    /// The raw value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.index.get(key)?;
        self.slots.get(*at)?.as_ref().map(|(_, raw)| raw.as_str())
    }

    /// All entries in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.slots.iter().flatten().map(|(key, raw)| (key.as_str(), raw.as_str()))
    }

    /// Bytes of keys and values: the measure of memory bounds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The document as JSON text, with the checkpoint under the reserved key when given.
    #[must_use]
    pub fn assemble(&self, checkpoint: Option<&str>) -> String {
        let mut out = String::with_capacity(self.bytes + self.slots.len() * 6 + checkpoint.map_or(0, str::len) + 24);
        out.push('{');
        for (key, raw) in self.entries() {
            push_member(&mut out, key, raw);
        }
        if let Some(raw) = checkpoint {
            push_member(&mut out, RESERVED_KEY, raw);
        }
        out.push('}');
        out
    }

    /// The document as JSON text without the keys that `hidden` names, with extra members at the end.
    #[must_use]
    pub fn assemble_visible(&self, hidden: &[String], extra: &[(&str, &str)]) -> String {
        let mut out = String::with_capacity(self.bytes + self.slots.len() * 6 + 64);
        out.push('{');
        let mut entries: Vec<(&str, &str)> = self.entries().collect();
        if self.by_key {
            entries.sort_unstable_by_key(|(key, _)| *key);
        }
        for (key, raw) in entries {
            if !hidden.iter().any(|name| name == key) && !extra.iter().any(|(name, _)| *name == key) {
                push_member(&mut out, key, raw);
            }
        }
        for (key, raw) in extra {
            push_member(&mut out, key, raw);
        }
        out.push('}');
        out
    }
}

fn push_member(out: &mut String, key: &str, raw: &str) {
    if out.len() > 1 {
        out.push(',');
    }
    push_json_string(out, key);
    out.push(':');
    out.push_str(raw);
}

/// Appends a JSON string literal.
pub fn push_json_string(out: &mut String, text: &str) {
    // As RFC 8259 section 7 has it. Keys of a document have nothing to escape, nearly always, and each step copies all of them.
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
    // Serialising a str cannot fail: it needs no writer that could, and no map key.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_places() {
        let stored = Document::parse(r#"{"b":1,"a":{"x":[1, 2]},"_flowcraft":{"v":1},"c":null}"#).unwrap();
        let mut doc = stored.document;
        doc.set("a".into(), "2".into());
        doc.delete("b");
        doc.set("b".into(), "\"z\"".into());
        assert_eq!(doc.assemble(stored.checkpoint.as_deref()), r#"{"a":2,"c":null,"b":"z","_flowcraft":{"v":1}}"#);
    }

    #[test]
    fn refuses_what_is_no_object() {
        for text in ["", "null", "[]", "1", "{", "{\"a\":}"] {
            assert!(Document::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_follow_every_change() {
        let mut doc = Document::default();
        for round in 0..300 {
            doc.set(format!("k{}", round % 90), "x".repeat(round));
            if round % 3 == 0 {
                doc.delete(&format!("k{}", (round * 7) % 90));
            }
            assert_eq!(doc.bytes(), doc.entries().map(|(k, v)| k.len() + v.len()).sum::<usize>());
        }
    }

    #[test]
    fn writes_strings_as_json_has_them() {
        for text in ["", "plain", "_outputs.a:b/c", "\"", "\\", "a\"b", "\u{0}", "\u{1f}", "\n", " ", "\u{7f}", "\u{2028}", "ä€😀"] {
            let mut out = String::from(">");
            push_json_string(&mut out, text);
            assert_eq!(out, format!(">{}", serde_json::to_string(text).unwrap()));
        }
    }

    #[test]
    fn duplicate_keys_in_the_text_keep_the_last() {
        let doc = Document::parse(r#"{"a":1,"a":2}"#).unwrap().document;
        assert_eq!(doc.assemble(None), r#"{"a":2}"#);
    }
}
