//! What the user requested, as plain values: a leaf that every room may import.
//!
//! The files, and what is decided in each:
//!
//! - [`url`]: what a URL may say; [`ShareUrl`].
//! - [`options`]: how to mount, and the defaults; [`MountOptions`], and [`MountSpec`], which adds share, directory and
//!   identity.
//! - [`connection`]: transport, dialects, signing and encryption; [`Identity`], the account to sign in with.
//! - [`credentials`]: which of the places where a user can put name and password counts.
//! - [`buffers`]: which buffer size is used for a requested and a negotiated size.
//! - [`cache_mode`]: what is cached in each mode. [`symlinks`]: how symbolic links are stored. [`size`]: sizes in bytes
//!   as text.
//! - [`ownership`]: where owners and modes come from, and what chmod(2) and chown(2) do.
//!
//! The invariant: from the moment it is read, a password is kept only in a [`secrecy::SecretString`] or in memory that
//! is wiped. Neither `Display` nor `Debug` of anything here shows it, and no error quotes it.

pub mod buffers;
pub mod cache_mode;
pub mod connection;
pub mod credentials;
mod metrics;
pub mod options;
pub mod ownership;
pub mod size;
pub mod symlinks;
pub mod url;

pub use buffers::Effective;
pub use cache_mode::CacheMode;
pub use connection::{Dialect, DialectRange, Identity, Protection, Transport};
pub use credentials::Credentials;
pub use metrics::MetricsAddress;
pub use options::{KernelFlags, MountCommand, MountOptions, MountSpec};
pub use ownership::{Keeping, OwnerOptions, OwnerSource};
pub use symlinks::Symlinks;
pub use url::ShareUrl;

/// The known name that is most similar to a mistyped one, if any is similar enough.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
