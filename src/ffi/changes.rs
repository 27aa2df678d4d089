//! Changed keys as they cross from JavaScript.

/// `key, raw, key, raw, ...`; an empty raw deletes (no JSON value is empty).
pub fn pairs(flat: Vec<String>) -> Vec<(String, Option<String>)> {
    let mut out = Vec::with_capacity(flat.len() / 2);
    let mut items = flat.into_iter();
    while let (Some(key), Some(raw)) = (items.next(), items.next()) {
        out.push((key, (!raw.is_empty()).then_some(raw)));
    }
    out
}
