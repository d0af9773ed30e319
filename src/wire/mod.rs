//! One SMB2 connection.
pub mod status;
pub use status::NtStatus;
