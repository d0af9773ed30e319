//! The tasks around a socket: one receives, one sends what the socket did not take at once, one is the timer. They are
//! stopped when the connection ends.

use super::super::channel::Channel;
use super::super::transport::FrameReader;
use super::shared::Shared;
use std::io;
use std::sync::Arc;
use tokio::io::AsyncRead;

pub(super) async fn receive<R: AsyncRead + Unpin>(shared: Arc<Shared>, mut reader: FrameReader<R>) {
    let reason = loop {
        match reader.next(|length| shared.admits(length)).await {
            Ok(frame) => shared.take_frame(frame),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break "the server closed it".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => break format!("the server sent {error}"),
            Err(error) => break format!("receiving failed: {error}"),
        }
    };
    shared.end(&reason);
}

pub(super) async fn transmit(shared: Arc<Shared>) {
    if let Err(error) = shared.drain().await {
        shared.end(&format!("sending failed: {error}"));
    }
}

/// Wakes the channel when something is due. Most deadlines are later than the one that the timer is set to, and are met
/// long before, so a request does not touch the timer.
pub(super) async fn keep_time(shared: Arc<Shared>) {
    loop {
        let due = async {
            match shared.arm() {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => shared.with(Channel::on_timeout),
            () = shared.rearmed() => {}
        }
    }
}
