//! One SMB2 connection.
pub mod codec;
pub mod connect;
pub mod connection;
pub mod credits;
pub mod crypto;
pub mod error;
pub mod frame;
pub mod header;
pub mod messages;
pub mod negotiate;
pub mod netbios;
pub mod ntlm;
pub mod signin;
pub mod status;
pub mod table;
pub mod transport;
pub use status::NtStatus;
