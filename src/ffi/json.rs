//! JSON of the glue.

use serde::de::DeserializeOwned;

use crate::kernel::error::FlowError;

/// Reads what the glue has made. It has validated what users wrote, so a failure is a bug of ours.
///
/// # Errors
/// `Internal`, without serde's own words: they repeat values, which may be secrets.
pub fn read<T: DeserializeOwned>(place: &'static str, json: &str) -> Result<T, FlowError> {
    serde_json::from_str(json).map_err(|error| {
        let detail = format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column());
        FlowError::Internal { place, detail }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::error::Code;

    #[test]
    fn a_failure_has_a_code_and_no_value() {
        let error = read::<String>("settings", "12345").unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        assert_eq!(error.to_string(), "internal error in settings: Data error at line 1 column 5. Please report it");
    }
}
