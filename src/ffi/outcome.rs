//! How results and errors cross to JavaScript.
//!
//! napi's own errors lose their code in async exports, so every export answers an [`Outcome`], which
//! builds the JavaScript error on the JavaScript thread, with `code`, `retryable` and a stable name.

use napi::bindgen_prelude::{Object, ToNapiValue, TypeName, ValueType};
use napi::{Env, sys};

use crate::kernel::error::FlowError;

/// `Ok` becomes the value; `Err` becomes a `FlowcraftAdapterError`-shaped rejection: the glue turns
/// `{ __error: { code, message, retryable } }` into the real class.
pub struct Outcome<T>(pub Result<T, FlowError>);

impl<T> From<Result<T, FlowError>> for Outcome<T> {
    fn from(result: Result<T, FlowError>) -> Self {
        Self(result)
    }
}

impl<T> TypeName for Outcome<T> {
    fn type_name() -> &'static str {
        "Outcome"
    }
    fn value_type() -> ValueType {
        ValueType::Unknown
    }
}

impl<T: ToNapiValue> ToNapiValue for Outcome<T> {
    #[allow(unsafe_code)]
    unsafe fn to_napi_value(env: sys::napi_env, outcome: Self) -> napi::Result<sys::napi_value> {
        match outcome.0 {
            // SAFETY: same contract as ours: `env` is the live environment of the current thread.
            Ok(value) => unsafe { T::to_napi_value(env, value) },
            Err(error) => {
                let env_ref = Env::from_raw(env);
                let mut details = Object::new(&env_ref)?;
                details.set("code", error.code().as_str())?;
                details.set("message", error.to_string())?;
                details.set("retryable", error.retryable())?;
                let mut wrapper = Object::new(&env_ref)?;
                wrapper.set("__error", details)?;
                // SAFETY: as above.
                unsafe { Object::to_napi_value(env, wrapper) }
            }
        }
    }
}
