//! The tasks of a connection: [`receive`] reads frames, [`transmit`] sends bytes that the socket did not accept at
//! once, [`keep_time`] wakes the channel when something is due. They are aborted when the connection ends.
//!
//! If the socket ends the connection, the reason is worded here, or in `shared` for a frame that is sent at once.

use super::super::channel::Channel;
use super::super::transport::FrameReader;
use super::shared::Shared;
use std::io;
use std::sync::Arc;
use tokio::io::AsyncRead;

/// Receives frames until the stream ends or breaks the protocol, then ends the connection.
pub(super) async fn receive<R: AsyncRead + Unpin>(shared: Arc<Shared>, mut reader: FrameReader<R>) {
    let reason = loop {
        match reader.next(|length| shared.admits(length)).await {
            Ok(frame) => shared.on_frame(frame),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break "the server closed it".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => break format!("the server sent {error}"),
            Err(error) => break format!("receiving failed: {error}"),
        }
    };
    shared.end(&reason);
}

/// Sends bytes that the socket did not accept at once. A failure ends the connection.
pub(super) async fn transmit(shared: Arc<Shared>) {
    if let Err(error) = shared.run_writer().await {
        shared.end(&format!("sending failed: {error}"));
    }
}

/// Wakes the channel when something is due. The timer only changes for an earlier deadline, which few requests have:
/// most are submitted after the request that the timer waits for, and are answered long before their deadline.
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
