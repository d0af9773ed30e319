//! The tasks around a socket: one receives, one sends what the socket did not take at once, one probes a
//! quiet line. Each ends with the connection.

use super::super::frame::{Chain, Request};
use super::super::header::Command;
use super::super::transport::FrameReader;
use super::shared::Shared;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
pub(super) async fn receive(shared: Arc<Shared>, mut reader: FrameReader) {
    let mut ended = shared.ended.subscribe();
    let reason = loop {
        let frame = tokio::select! {
            frame = reader.next(|| shared.frame_limit()) => frame,
            _ = ended.wait_for(|ended| *ended) => return,
        };
        match frame {
            Ok(frame) => {
                let now = u64::try_from(shared.started.elapsed().as_millis()).unwrap_or(u64::MAX);
                shared.last_received.store(now, Ordering::Relaxed);
                if let Err(malformed) = shared.take_frame(frame) {
                    break format!("the server sent {malformed}");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break "the server closed it".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => break format!("the server sent {error}"),
            Err(error) => break format!("receiving failed: {error}"),
        }
    };
    shared.end(&reason);
}

pub(super) async fn transmit(shared: Arc<Shared>) {
    let mut ended = shared.ended.subscribe();
    let sent = tokio::select! {
        sent = shared.outbox.drain() => sent,
        _ = ended.wait_for(|ended| *ended) => return,
    };
    if let Err(error) = sent {
        shared.end(&format!("sending failed: {error}"));
    }
}

/// Probes a quiet line, so that a server that has gone is noticed (MS-SMB2 3.2.6.1).
pub(super) async fn keep_alive(shared: Arc<Shared>, interval: Duration) {
    let mut ended = shared.ended.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            _ = ended.wait_for(|ended| *ended) => return,
        }
        let received = Duration::from_millis(shared.last_received.load(Ordering::Relaxed));
        if shared.started.elapsed().saturating_sub(received) < interval || shared.security.get().is_none() {
            continue;
        }
        let before = shared.last_received.load(Ordering::Relaxed);
        // Without a credit to spare, requests are in flight, and any reply to them will do.
        shared.send_detached(&Chain::single(Request::new(Command::Echo, vec![4, 0, 0, 0])));
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            _ = ended.wait_for(|ended| *ended) => return,
        }
        if shared.last_received.load(Ordering::Relaxed) == before {
            return shared.end(&format!("the server was silent for {:.0} s", (2 * interval).as_secs_f64()));
        }
    }
}
