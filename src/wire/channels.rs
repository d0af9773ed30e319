//! The connections of one session (MS-SMB2 3.2.4.1.7, 3.2.5.3.3), and which of them carries a request.
//!
//! Opens and trees belong to the session, so any connection serves any of them. Bulk goes to the further connection
//! with the fewest credits in flight; everything else stays on the first connection. So a lookup never queues behind
//! file data, not even in the socket buffers, whose order this client cannot change.
//!
//! All connections lead to the address of the first one. The client does not query the server's other network
//! interfaces (FSCTL_QUERY_NETWORK_INTERFACE_INFO): their addresses may be unreachable from this host, and a forwarded
//! port has no other address.
//!
//! The invariant: the connections live and end together. If one is lost, requests in flight on it may still reach the
//! server. Only the end of the whole session, which the next sign-in demands, ensures that the server does not execute
//! an old WRITE after a new one. For the same reason a WRITE without a timely answer ends a session of several
//! connections: its successor could be sent on another one. If the server does not end the session in time, the next
//! session has another [`lineage`](super::connect::Tree::lineage).

use super::connection::{Answer, Connection, Pending};
use super::credits::Lane;
use super::error::WireError;
use super::frame::{Chain, Reply};
use crate::telemetry::Counters;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// The connections of one session.
#[derive(Debug)]
pub struct Channels {
    /// The connection that signed in, then those that were bound to its session.
    connections: Vec<Connection>,
    /// When the request whose missing answer ended the connections was submitted.
    silent_since: OnceLock<Instant>,
}

/// How long a request waits without an answer before its timeout ends the connections: 4 s, and only if no connection
/// has received a frame since the request was submitted.
const SILENCE: Duration = Duration::from_secs(4);

impl Channels {
    /// Ties together the connection that signed in and those that were bound to its session.
    pub fn new(first: Connection, further: Vec<Connection>) -> Channels {
        let mut connections = vec![first];
        connections.extend(further);
        Connection::tie(&connections);
        Channels { connections, silent_since: OnceLock::new() }
    }

    /// All connections: at least one, the one that signed in first.
    pub fn connections(&self) -> &[Connection] {
        &self.connections
    }

    /// Sends requests in one frame and waits for all replies; see [`Connection::send`]. `deadline` counts from now.
    ///
    /// # Errors
    ///
    /// As for [`Connection::send`]. [`WireError::TimedOut`] also ends the session if no frame was received since the
    /// chain was submitted, at least 4 s ago, or if the chain contains a WRITE and the session has several connections.
    pub async fn send(&self, chain: &Chain, deadline: Duration) -> Answer {
        let sent = Instant::now();
        let answer = self.for_lane(chain.cost().lane).send(chain, deadline).await;
        if matches!(answer, Err(WireError::TimedOut)) {
            self.timed_out(chain, sent);
        }
        answer
    }

    fn timed_out(&self, chain: &Chain, sent: Instant) {
        let heard = self.connections.iter().map(Connection::last_received).max();
        if sent.elapsed() >= SILENCE && heard.is_some_and(|heard| heard < sent.into_std()) {
            // Only the first timeout is recorded: the connections end once.
            let _ = self.silent_since.set(sent);
            self.end(&format!("the server was silent for {:.0} s", sent.elapsed().as_secs_f64()));
        } else if chain.writes() && self.connections.len() > 1 {
            self.end("a WRITE was not answered in time");
        }
    }

    /// Since when the server was silent, if a timeout in [`Channels::send`] ended the connections; `None` after a probe
    /// without an answer.
    pub fn silent_since(&self) -> Option<Instant> {
        self.silent_since.get().copied()
    }

    /// Sends requests of which the last may be answered at any time or never; see [`Connection::send_open_ended`].
    ///
    /// # Errors
    ///
    /// As for [`Connection::send_open_ended`].
    pub async fn send_open_ended(&self, chain: &Chain, deadline: Duration) -> Result<(Vec<Reply>, Pending), WireError> {
        self.for_lane(Lane::Small).send_open_ended(chain, deadline).await
    }

    /// Sends requests without waiting for replies or credits. Returns whether they were sent.
    pub fn post(&self, chain: &Chain) -> bool {
        self.for_lane(chain.cost().lane).post(chain)
    }

    fn for_lane(&self, lane: Lane) -> &Connection {
        let in_flight = self.connections.iter().map(|connection| connection.credits().1);
        &self.connections[choose(lane, in_flight)]
    }

    /// The counters of the mount.
    pub fn counters(&self) -> &Counters {
        self.connections[0].counters()
    }

    /// The server's address.
    pub fn peer(&self) -> SocketAddr {
        self.connections[0].peer()
    }

    /// The session's id.
    pub fn session_id(&self) -> u64 {
        self.connections[0].session_id()
    }

    /// The most credits that one bulk request may cost on any of the connections.
    pub fn credit_capacity(&self) -> u32 {
        self.connections.iter().map(Connection::credit_capacity).min().unwrap_or(1)
    }

    /// Available credits, and credits of requests in flight, of all connections together.
    pub fn credits(&self) -> (u32, u32) {
        let credits = self.connections.iter().map(Connection::credits);
        credits.fold((0, 0), |sum, credits| (sum.0 + credits.0, sum.1 + credits.1))
    }

    /// Why the connections ended, if they have.
    pub fn ended(&self) -> Option<Arc<str>> {
        self.connections.iter().find_map(Connection::ended)
    }

    /// When the first of the connections ended, if one has.
    pub fn ended_at(&self) -> Option<std::time::Instant> {
        self.connections.iter().filter_map(Connection::ended_at).min()
    }

    /// The time from the start of the first connection to the last frame received on it.
    pub fn active_for(&self) -> Duration {
        self.connections[0].active_for()
    }

    /// Waits until the connections have ended. The future does not keep them alive.
    pub fn ending(&self) -> impl Future<Output = ()> + Send + use<> {
        self.connections[0].ending()
    }

    /// Ends all connections: nothing more is sent, and all waiting callers get [`WireError::Closed`] with this reason.
    pub fn end(&self, reason: &str) {
        self.connections[0].end(reason);
    }
}

/// The index of the connection that carries the next request of a lane. `in_flight` has the credits in flight of each.
fn choose(lane: Lane, in_flight: impl IntoIterator<Item = u32>) -> usize {
    match lane {
        Lane::Small => 0,
        Lane::Bulk => {
            let further = in_flight.into_iter().enumerate().skip(1);
            further.min_by_key(|(_, credits)| *credits).map_or(0, |(index, _)| index)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Request;
    use super::super::header::Command;
    use super::super::messages::io;
    use super::super::scripted::{Scripted, pair};
    use super::*;
    use bytes::Bytes;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn bulk_goes_to_the_further_connection_with_the_fewest_credits_in_flight() {
        assert_eq!(choose(Lane::Small, [900, 0, 0]), 0);
        assert_eq!(choose(Lane::Bulk, [0, 16, 0, 32]), 2);
        assert_eq!(choose(Lane::Bulk, [0, 16, 16]), 1);
    }

    #[test]
    fn a_session_with_one_connection_sends_everything_on_it() {
        assert_eq!(choose(Lane::Small, [0]), 0);
        assert_eq!(choose(Lane::Bulk, [900]), 0);
    }

    async fn two() -> (Channels, [Scripted; 2]) {
        let (first, one) = pair().await;
        let (second, other) = pair().await;
        (Channels::new(first, vec![second]), [one, other])
    }

    fn echo() -> Chain {
        Chain::single(Request::new(Command::Echo, vec![4, 0, 0, 0]))
    }

    fn write() -> Chain {
        Chain::single(io::write([1; 16], 0, Bytes::from(vec![7; 65_536])))
    }

    #[tokio::test]
    async fn bulk_and_small_requests_use_different_connections() {
        let (channels, [mut first, mut second]) = two().await;
        assert!(channels.post(&echo()));
        assert!(channels.post(&write()));
        assert_eq!(first.receive_one().await.header.command, Command::Echo as u16);
        assert_eq!(second.receive_one().await.header.command, Command::Write as u16);
    }

    #[tokio::test]
    async fn the_end_of_one_connection_is_the_end_of_all() {
        let (channels, [first, second]) = two().await;
        let (small, bulk) = (echo(), write());
        let lose = async { drop(second) };
        let (one, other, ()) = tokio::join!(channels.send(&small, PATIENCE), channels.send(&bulk, PATIENCE), lose);
        assert!(matches!(one, Err(WireError::Closed(_))), "{one:?}");
        assert!(matches!(other, Err(WireError::Closed(_))), "{other:?}");
        assert!(channels.connections().iter().all(|connection| connection.ended().is_some()));
        drop(first);
    }

    #[tokio::test]
    async fn a_connection_lost_before_the_session_is_complete_ends_the_others() {
        let (first, _one) = pair().await;
        let (second, _other) = pair().await;
        second.end("too early");
        let channels = Channels::new(first, vec![second]);
        assert!(channels.connections().iter().all(|connection| connection.ended().is_some()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_not_answered_in_time_ends_the_session() {
        let (channels, _servers) = two().await;
        let soon = Duration::from_millis(20);
        assert_eq!(channels.send(&echo(), soon).await.unwrap_err(), WireError::TimedOut);
        assert!(channels.ended().is_none());
        assert_eq!(channels.send(&write(), soon).await.unwrap_err(), WireError::TimedOut);
        assert!(channels.ended().is_some());
    }

    #[tokio::test]
    async fn every_connection_has_a_receiver_of_breaks() {
        let (channels, _servers) = two().await;
        assert!(channels.connections().iter().all(|connection| connection.breaks().is_some()));
    }
}
