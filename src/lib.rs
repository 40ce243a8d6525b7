//! stub
pub mod metric;
pub mod oci;
pub mod health;
pub mod refusal;
pub mod request;
pub mod selector;
pub mod document;
pub mod source;
pub mod lookup;
