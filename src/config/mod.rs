//! What the user asked for, as plain values: a leaf that every room may use.

pub mod connection;

pub use connection::{Dialect, DialectRange, Identity, Protection, Transport};
