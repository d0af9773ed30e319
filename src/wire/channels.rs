//! The connections of one session (MS-SMB2 3.2.4.1.7, 3.2.4.2.3.3), and which of them carries a request.
//!
//! Opens and trees belong to the session, so any connection serves any of them. Bulk goes to the further
//! connections, to the one with the least in flight; everything else stays on the first. So a lookup
//! never queues behind file data, not even in the buffers of the sockets, where no order of ours helps.
//!
//! All connections lead to the address of the first one. The server is not asked for its other network
//! interfaces (FSCTL_QUERY_NETWORK_INTERFACE_INFO): what it would name may not be reachable from here, and a
//! port that was forwarded has no other address.
//!
//! The invariant: the connections live and end together. If one is lost, what was in flight on it may
//! still reach the server; only the end of the whole session, which the next sign-in demands, rules
//! out that an old WRITE is executed after a new one. For the same reason a WRITE that was not answered
//! in time ends the session, where its successor could be sent on another connection. Where the server does not
//! end the session in time, the next one has another [`lineage`](super::connect::Tree::lineage).

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
    /// The first one, which signed in, and those that were bound to its session.
    connections: Vec<Connection>,
    /// When the request was sent on whose silence they were ended.
    silent_since: OnceLock<Instant>,
}

/// A request without an answer ends the connections if it has waited for so long, and nothing else came meanwhile either.
const SILENCE: Duration = Duration::from_secs(4);

impl Channels {
    /// The connection that signed in, and those that were bound to its session.
    pub fn new(first: Connection, further: Vec<Connection>) -> Channels {
        let mut connections = vec![first];
        connections.extend(further);
        Connection::tie(&connections);
        Channels { connections, silent_since: OnceLock::new() }
    }

    /// All connections: at least one.
    pub fn connections(&self) -> &[Connection] {
        &self.connections
    }

    /// Sends requests in one frame and waits for all replies; see [`Connection::send`].
    pub async fn send(&self, chain: &Chain, deadline: Duration) -> Answer {
        let sent = Instant::now();
        let answer = self.for_lane(chain.cost().lane).send(chain, deadline).await;
        if matches!(answer, Err(WireError::TimedOut)) {
            self.timed_out(chain, sent);
        }
        answer
    }

    fn timed_out(&self, chain: &Chain, sent: Instant) {
        let heard = self.connections.iter().map(Connection::heard_at).max();
        if sent.elapsed() >= SILENCE && heard.is_some_and(|heard| heard < sent.into_std()) {
            // There is only one end, and one beginning of the silence before it.
            let _ = self.silent_since.set(sent);
            self.end(&format!("the server was silent for {:.0} s", sent.elapsed().as_secs_f64()));
        } else if chain.writes() && self.connections.len() > 1 {
            self.end("a WRITE was not answered in time");
        }
    }

    /// Since when nothing came, if the connections were ended because of that.
    pub fn silent_since(&self) -> Option<Instant> {
        self.silent_since.get().copied()
    }

    /// See [`Connection::send_open_ended`].
    pub async fn send_open_ended(&self, chain: &Chain, deadline: Duration) -> Result<(Vec<Reply>, Pending), WireError> {
        self.for_lane(Lane::Small).send_open_ended(chain, deadline).await
    }

    /// Sends and waits for nothing, not even for credits: whether it was sent.
    pub fn post(&self, chain: &Chain) -> bool {
        self.for_lane(chain.cost().lane).post(chain)
    }

    fn for_lane(&self, lane: Lane) -> &Connection {
        let in_flight = self.connections.iter().map(|connection| connection.credits().1);
        &self.connections[choose(lane, in_flight)]
    }

    /// What is counted of these connections.
    pub fn counters(&self) -> &Counters {
        self.connections[0].counters()
    }

    /// The server's address.
    pub fn peer(&self) -> SocketAddr {
        self.connections[0].peer()
    }

    /// The session.
    pub fn session_id(&self) -> u64 {
        self.connections[0].session_id()
    }

    /// Credits that one large request may cost, at the most, on whichever connection it is sent.
    pub fn credit_capacity(&self) -> u32 {
        self.connections.iter().map(Connection::credit_capacity).min().unwrap_or(1)
    }

    /// Credits at hand, and credits of requests in flight, of all connections together.
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

    /// From the start of the first connection to the last frame that came on it.
    pub fn active_for(&self) -> Duration {
        self.connections[0].active_for()
    }

    /// Waits until the connections have ended, without keeping them from that.
    pub fn ending(&self) -> impl Future<Output = ()> + Send + use<> {
        self.connections[0].ending()
    }

    /// Ends all connections: nothing is sent any more, and everyone who waits is told this reason.
    pub fn end(&self, reason: &str) {
        self.connections[0].end(reason);
    }
}

/// Which connection, of those with so many credits in flight each, carries the next request of a lane.
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
    fn bulk_goes_where_the_least_is_in_flight_and_never_first() {
        assert_eq!(choose(Lane::Small, [900, 0, 0]), 0);
        assert_eq!(choose(Lane::Bulk, [0, 16, 0, 32]), 2);
        assert_eq!(choose(Lane::Bulk, [0, 16, 16]), 1);
    }

    #[test]
    fn where_there_is_one_connection_it_carries_everything() {
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
    async fn bulk_and_the_rest_travel_apart() {
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
    async fn a_connection_that_was_lost_before_they_were_tied_takes_the_others_along() {
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
    async fn every_connection_has_its_breaks() {
        let (channels, _servers) = two().await;
        assert!(channels.connections().iter().all(|connection| connection.breaks().is_some()));
    }
}
