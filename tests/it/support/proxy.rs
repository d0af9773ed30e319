//! A TCP proxy in front of a server that makes network faults: it stalls, cuts, resets and delays connections. It also
//! records and counts what the client sends.
//!
//! Each connection has one reading and one writing task per direction. Between the two stands a queue of bounded
//! length, so a delay costs no throughput and a stall uses no more memory than the queue.

use super::frames::{self, Splitter};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

/// How many frames are recorded, counted from the first frame of the first connection.
const RECORDED: usize = 64;
/// The CHANGE_NOTIFY command. Only QUERY_INFO, SET_INFO and OPLOCK_BREAK have higher numbers (MS-SMB2 2.2.1).
const CHANGE_NOTIFY: u16 = 0x0F;
/// The most bytes of a frame that are kept, without its four length bytes.
const KEPT: usize = 4096;

/// The most bytes of one read.
const PIECE: usize = 64 * 1024;
/// The most reads that wait in one direction of a connection.
const QUEUE: usize = 64;

/// What the proxy does with all connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// Bytes pass.
    Forward,
    /// New connections are accepted, but no bytes pass on any connection.
    Stall,
    /// New connections are closed as soon as they are accepted.
    Refuse,
}

/// How established connections are ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// In order, by FIN.
    Cut,
    /// By RST.
    Reset,
}

#[derive(Clone)]
struct State {
    mode: Mode,
    /// The delay in each direction.
    delay: Duration,
    /// A counter that grows with each command to end connections, and how they are ended.
    ended: (u64, End),
    /// The connections that the last such command ends, by number in order of arrival.
    ending: Range<usize>,
    /// Connections on which no bytes pass.
    held: Range<usize>,
    /// Connections with this number or a higher one are closed as soon as they are accepted.
    limit: usize,
    /// A request with this command is not forwarded, and its connection ends.
    poison: Option<u16>,
}

impl State {
    fn passes(&self, number: usize) -> bool {
        self.mode != Mode::Stall && !self.held.contains(&number)
    }
}

const ALL: Range<usize> = 0..usize::MAX;

/// What is lost, and ends the connection, when the client sends a frame for which the function returns true.
#[derive(Clone, Copy)]
enum Trap {
    /// The request is not forwarded.
    Request(fn(&[u8]) -> bool),
    /// The request is forwarded, and its answer is not.
    Answer(fn(&[u8]) -> bool),
}

/// What the clients of the proxy have sent so far.
#[derive(Default)]
struct Seen {
    /// The armed trap. The first matching frame removes it.
    trap: Option<Trap>,
    connections: usize,
    living: BTreeSet<usize>,
    first: Vec<Vec<u8>>,
    frames: u64,
    watching: u64,
    encrypted: u64,
    unsigned: u64,
    commands: BTreeMap<u16, u64>,
}

/// A running proxy; its connections end when it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    seen: Arc<Mutex<Seen>>,
    runtime: Option<Runtime>,
}

impl Proxy {
    /// Starts a proxy in front of `target`.
    pub(crate) fn to(target: SocketAddr) -> Proxy {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = listen(&runtime, SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = listener.local_addr().expect("a bound socket has an address");
        let start = State {
            mode: Mode::Forward,
            delay: Duration::ZERO,
            ended: (0, End::Cut),
            ending: ALL,
            held: 0..0,
            limit: usize::MAX,
            poison: None,
        };
        let (state, watcher) = watch::channel(start);
        let seen = Arc::new(Mutex::new(Seen::default()));
        runtime.spawn(accept(listener, target, watcher, Arc::clone(&seen)));
        Proxy { address, state, seen, runtime: Some(runtime) }
    }

    /// Starts a proxy in front of a server on 127.0.0.1.
    pub(crate) fn to_port(port: u16) -> Proxy {
        Proxy::to(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on no bytes pass. New connections are still accepted.
    pub(crate) fn stall(&self) {
        self.state.send_modify(|state| state.mode = Mode::Stall);
    }

    /// From now on every new connection is closed at once.
    pub(crate) fn refuse(&self) {
        self.state.send_modify(|state| state.mode = Mode::Refuse);
    }

    /// From now on bytes pass again, first those that were held.
    pub(crate) fn forward(&self) {
        self.state.send_modify(|state| state.mode = Mode::Forward);
    }

    /// Closes all established connections.
    pub(crate) fn cut(&self) {
        self.end(ALL, End::Cut);
    }

    /// Closes the established connections with these numbers, counted in order of arrival.
    pub(crate) fn cut_only(&self, numbers: Range<usize>) {
        self.end(numbers, End::Cut);
    }

    /// Resets all established connections.
    pub(crate) fn reset(&self) {
        self.end(ALL, End::Reset);
    }

    fn end(&self, numbers: Range<usize>, end: End) {
        self.state.send_modify(|state| {
            state.ended = (state.ended.0 + 1, end);
            state.ending = numbers;
        });
    }

    /// From now on no bytes pass on the connections with these numbers, counted in order of arrival.
    pub(crate) fn hold(&self, numbers: Range<usize>) {
        self.state.send_modify(|state| state.held = numbers);
    }

    /// From now on bytes pass on every connection again, first those that were held. Held bytes are forwarded even if
    /// their sender has closed the connection meanwhile.
    pub(crate) fn release(&self) {
        self.hold(0..0);
    }

    /// From now on only the first `connections` connections are forwarded, counted from the start of the proxy.
    pub(crate) fn limit(&self, connections: usize) {
        self.state.send_modify(|state| state.limit = connections);
    }

    /// From now on a request with this command is not forwarded; its connection is closed instead. `None` ends that.
    pub(crate) fn poison(&self, command: Option<u16>) {
        self.state.send_modify(|state| state.poison = command);
    }

    /// Arms a trap for one frame: the first frame of the client for which `is_it` is true is not forwarded, and its
    /// connection is closed. `is_it` gets the frame with its four length bytes.
    pub(crate) fn lose_request(&self, is_it: fn(&[u8]) -> bool) {
        self.seen().trap = Some(Trap::Request(is_it));
    }

    /// Arms a trap like [`Proxy::lose_request`], but the frame is forwarded to the server: only its answer is lost.
    pub(crate) fn lose_answer(&self, is_it: fn(&[u8]) -> bool) {
        self.seen().trap = Some(Trap::Answer(is_it));
    }

    /// Whether the armed trap has lost its frame.
    pub(crate) fn has_lost(&self) -> bool {
        self.seen().trap.is_none()
    }

    /// From now on everything is delayed by this time in each direction.
    pub(crate) fn delay(&self, one_way: Duration) {
        self.state.send_modify(|state| state.delay = one_way);
    }

    /// The number of connections that clients have made.
    pub(crate) fn connections(&self) -> usize {
        self.seen().connections
    }

    /// The numbers of the forwarded connections that have not ended yet, counted in order of arrival.
    pub(crate) fn living(&self) -> Vec<usize> {
        self.seen().living.iter().copied().collect()
    }

    /// The number of frames that the client has sent.
    pub(crate) fn frames(&self) -> u64 {
        self.seen().frames
    }

    /// The number of frames whose only purpose is CHANGE_NOTIFY on a watched folder.
    pub(crate) fn watching_frames(&self) -> u64 {
        self.seen().watching
    }

    /// The number of frames that were encrypted.
    pub(crate) fn encrypted_frames(&self) -> u64 {
        self.seen().encrypted
    }

    /// The number of frames that were neither encrypted nor signed.
    pub(crate) fn unsigned_frames(&self) -> u64 {
        self.seen().unsigned
    }

    /// The number of requests with this command that the client has sent, compounded or not.
    pub(crate) fn requests(&self, command: u16) -> u64 {
        self.seen().commands.get(&command).copied().unwrap_or(0)
    }

    /// The first frames that the client has sent, with their four length bytes.
    pub(crate) fn first_frames(&self) -> Vec<Vec<u8>> {
        self.seen().first.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic under this lock")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A listener that belongs to this runtime. Threads of other runtimes can use it too.
pub(super) fn listen(runtime: &Runtime, address: SocketAddr) -> TcpListener {
    let listener = std::net::TcpListener::bind(address).expect("the loopback has free ports");
    listener.set_nonblocking(true).expect("sockets can be made non-blocking");
    let _guard = runtime.enter();
    TcpListener::from_std(listener).expect("a runtime with I/O")
}

impl Seen {
    fn record(&mut self, frame: &[u8]) {
        self.frames += 1;
        if self.first.len() < RECORDED {
            self.first.push(frame.to_vec());
        }
        if frames::is_encrypted(frame) {
            self.encrypted += 1;
        } else if !frames::is_signed(frame) {
            self.unsigned += 1;
        }
        let commands: Vec<u16> = frames::commands(frame).into_iter().collect();
        let is_watching = commands.contains(&CHANGE_NOTIFY) && commands.iter().all(|command| *command >= CHANGE_NOTIFY);
        self.watching += u64::from(is_watching);
        for command in commands {
            *self.commands.entry(command).or_default() += 1;
        }
    }

    /// Removes and returns the trap if this frame matches it.
    fn spring(&mut self, frame: &[u8]) -> Option<Trap> {
        self.trap.take_if(|trap| match trap {
            Trap::Request(is_it) | Trap::Answer(is_it) => is_it(frame),
        })
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Receiver<State>, seen: Arc<Mutex<Seen>>) {
    for number in 0.. {
        let Ok((client, _)) = listener.accept().await else { return };
        seen.lock().expect("no panic under this lock").connections += 1;
        let admitted = {
            let state = state.borrow();
            state.mode != Mode::Refuse && number < state.limit
        };
        if admitted {
            seen.lock().expect("no panic under this lock").living.insert(number);
            let (state, seen) = (state.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                connection(client, number, target, state, Arc::clone(&seen)).await;
                seen.lock().expect("no panic under this lock").living.remove(&number);
            });
        }
    }
}

async fn connection(
    mut client: TcpStream,
    number: usize,
    target: SocketAddr,
    mut state: watch::Receiver<State>,
    seen: Arc<Mutex<Seen>>,
) {
    let born = state.borrow().ended.0;
    let gate = Gate { number, state: state.clone() };
    let ending = |state: &State| state.ended.0 > born && state.ending.contains(&number);
    let end = tokio::select! {
        _ = pass(&mut client, target, gate, seen) => End::Cut,
        end = state.wait_for(ending) => end.map_or(End::Cut, |state| state.ended.1),
    };
    if end == End::Reset {
        // A close with a linger time of zero sends RST.
        let _ = client.set_zero_linger();
    }
}

/// Decides when the bytes of one connection may pass.
#[derive(Clone)]
struct Gate {
    number: usize,
    state: watch::Receiver<State>,
}

impl Gate {
    /// Waits until bytes may pass. If the proxy ends first, its runtime ends this task.
    async fn open(&mut self) {
        let number = self.number;
        let _ = self.state.wait_for(|state| state.passes(number)).await;
    }
}

async fn pass(client: &mut TcpStream, target: SocketAddr, mut gate: Gate, seen: Arc<Mutex<Seen>>) -> io::Result<()> {
    // A stalled proxy does not connect to the server either.
    gate.open().await;
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (up, up_end) = mpsc::channel(QUEUE);
    let (down, down_end) = mpsc::channel(QUEUE);
    let deaf = AtomicBool::new(false);
    // Neither side of SMB closes one direction alone, so the end of one direction ends both.
    tokio::select! {
        _ = async { tokio::join!(take(from_client, up, gate.clone(), Some(seen), &deaf), give(to_server, up_end, gate.clone())) } => {}
        _ = async { tokio::join!(take(from_server, down, gate.clone(), None, &deaf), give(to_client, down_end, gate.clone())) } => {}
    }
    Ok(())
}

type Piece = (Instant, Vec<u8>);

/// Reads until the sender closes, and queues each piece with the time at which it is due. When `deaf` is set, the
/// connection ends with the next bytes from the server.
async fn take(
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<Piece>,
    gate: Gate,
    seen: Option<Arc<Mutex<Seen>>>,
    deaf: &AtomicBool,
) -> io::Result<()> {
    let mut splitter = Splitter::default();
    let mut buffer = vec![0; PIECE];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 || seen.is_none() && deaf.load(Ordering::Acquire) {
            return Ok(());
        }
        if let Some(seen) = &seen {
            let mut seen = seen.lock().expect("no panic under this lock");
            let poison = gate.state.borrow().poison;
            let mut is_poisoned = false;
            splitter.push(&buffer[..count], KEPT, |frame| {
                seen.record(frame);
                is_poisoned |= frames::commands(frame).into_iter().any(|command| Some(command) == poison);
                match seen.spring(frame) {
                    Some(Trap::Request(_)) => is_poisoned = true,
                    Some(Trap::Answer(_)) => deaf.store(true, Ordering::Release),
                    None => {}
                }
            });
            if is_poisoned {
                return Ok(());
            }
        }
        let due = Instant::now() + gate.state.borrow().delay;
        if queue.send((due, buffer[..count].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes each piece when it is due and bytes may pass.
async fn give(mut to: WriteHalf<'_>, mut queue: mpsc::Receiver<Piece>, mut gate: Gate) -> io::Result<()> {
    while let Some((due, piece)) = queue.recv().await {
        tokio::time::sleep_until(due.into()).await;
        gate.open().await;
        to.write_all(&piece).await?;
    }
    to.shutdown().await
}
