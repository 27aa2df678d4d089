//! The only module that names napi: convert, call, convert.

mod outcome;
