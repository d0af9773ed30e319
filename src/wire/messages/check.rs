//! The check of a response against its request, before the caller receives it.
//!
//! A server that breaks the protocol in one field cannot be trusted in the next. So a malformed response is found
//! before any part of it is used, even if its caller does not read it, and ends the connection.

use super::{create, info, io, ioctl, notify};
use crate::wire::codec::Malformed;
use crate::wire::frame::{Reply, Request};
use crate::wire::header::Command;
use crate::wire::status::NtStatus;

/// Checks the response to a request. Only the command is checked if the status is not STATUS_SUCCESS, or if the client
/// reads no field of the response (FLUSH, SET_INFO and others). A parser still checks the fields that it reads.
///
/// # Errors
///
/// [`Malformed`] if the response is to another command, or its structure is not the one that the command demands.
pub(in crate::wire) fn check(request: &Request, reply: &Reply) -> Result<(), Malformed> {
    if reply.header.command != request.command as u16 {
        return Err(Malformed("a reply to another command than was sent"));
    }
    if reply.status() != NtStatus::SUCCESS {
        return Ok(());
    }
    match request.command {
        Command::Create => create::Created::parse(reply).map(drop),
        Command::Close => create::parse_close(reply).map(drop),
        Command::Read => io::check_read(request, reply),
        Command::Write => io::check_write(request, reply),
        Command::QueryDirectory => info::check_entries(reply),
        Command::QueryInfo => info::check(request, reply),
        Command::ChangeNotify => notify::check_changes(reply),
        Command::Ioctl => ioctl::check(reply),
        _ => Ok(()),
    }
}
