//! What the user asked for, as plain values: a leaf that every room may use.
//!
//! [`ShareUrl`] says which share, [`MountOptions`] how to mount it, [`Identity`] who signs in, and
//! [`MountSpec`] holds all three with the mountpoint. [`credentials`] finds the identity among the
//! places a user may have put it; [`buffers`] turns an asked and a negotiated buffer size into the
//! one that is used.
//!
//! The invariant: a password lives in a [`secrecy::SecretString`] only, from the moment it was
//! read. Neither `Display` nor `Debug` of anything here shows it, and no error quotes it.

pub mod buffers;
pub mod cache_mode;
pub mod connection;
pub mod credentials;
pub mod options;
pub mod size;
pub mod url;

pub use buffers::Effective;
pub use cache_mode::CacheMode;
pub use connection::{Dialect, DialectRange, Identity, Protection, Transport};
pub use credentials::Credentials;
pub use options::{KernelFlags, MountOptions, MountSpec, Restart};
pub use url::ShareUrl;

/// The known name that a mistyped one most likely means, if any is near.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
