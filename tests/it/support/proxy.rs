//! A TCP proxy in front of a server, that makes the faults of networks: it stalls, cuts, resets and
//! delays, and it records and counts what the client sends.
//!
//! One task a connection and direction; between reading and writing stands a queue of bounded
//! length, so that a delay costs no throughput and a stall costs no memory.

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

/// So many frames are recorded, from the first connection on.
const RECORDED: usize = 64;
/// Of the commands of MS-SMB2 2.2.1 only QUERY_INFO, SET_INFO and OPLOCK_BREAK have higher numbers.
const CHANGE_NOTIFY: u16 = 0x0F;
/// So much is kept of each frame.
const KEPT: usize = 4096;

/// The most that is read at once, and the most pieces that wait.
const PIECE: usize = 64 * 1024;
const QUEUE: usize = 64;

/// What the proxy does to its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// Bytes pass.
    Forward,
    /// New connections are accepted, and nothing passes on any.
    Stall,
    /// Connections are closed as soon as they are accepted.
    Refuse,
}

/// How living connections end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Properly, by FIN.
    Cut,
    /// By RST.
    Reset,
}

#[derive(Clone)]
struct State {
    mode: Mode,
    /// One way, in each direction.
    delay: Duration,
    /// Grows when connections that live are to end, and how.
    ended: (u64, End),
    /// Which connections that means, in the order in which they were made.
    ending: Range<usize>,
    /// Nothing passes on these connections.
    held: Range<usize>,
    /// Connections beyond so many are closed as soon as they are accepted.
    limit: usize,
    /// A connection ends when a request with this command comes, which does not pass.
    poison: Option<u16>,
}

impl State {
    fn passes(&self, number: usize) -> bool {
        self.mode != Mode::Stall && !self.held.contains(&number)
    }
}

const ALL: Range<usize> = 0..usize::MAX;

/// A connection that ends because of what is sent on it.
#[derive(Clone, Copy)]
enum Trap {
    /// Instead of passing on the request.
    Request(fn(&[u8]) -> bool),
    /// Instead of passing on the answer to the request.
    Answer(fn(&[u8]) -> bool),
}

/// What the client has sent so far.
#[derive(Default)]
struct Seen {
    /// Waits for a frame, and goes with it.
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

    /// From now on nothing passes; connections are accepted all the same.
    pub(crate) fn stall(&self) {
        self.state.send_modify(|state| state.mode = Mode::Stall);
    }

    /// From now on every new connection is closed at once.
    pub(crate) fn refuse(&self) {
        self.state.send_modify(|state| state.mode = Mode::Refuse);
    }

    /// From now on bytes pass again, those that waited first.
    pub(crate) fn forward(&self) {
        self.state.send_modify(|state| state.mode = Mode::Forward);
    }

    /// Closes the connections that there are.
    pub(crate) fn cut(&self) {
        self.end(ALL, End::Cut);
    }

    /// Closes these of the connections that there are, in the order in which they were made.
    pub(crate) fn cut_only(&self, numbers: Range<usize>) {
        self.end(numbers, End::Cut);
    }

    /// Resets the connections that there are.
    pub(crate) fn reset(&self) {
        self.end(ALL, End::Reset);
    }

    fn end(&self, numbers: Range<usize>, end: End) {
        self.state.send_modify(|state| {
            state.ended = (state.ended.0 + 1, end);
            state.ending = numbers;
        });
    }

    /// From now on nothing passes on these connections, in the order in which they were made.
    pub(crate) fn hold(&self, numbers: Range<usize>) {
        self.state.send_modify(|state| state.held = numbers);
    }

    /// From now on bytes pass on every connection again, those that waited first, though their sender
    /// may have closed it meanwhile.
    pub(crate) fn release(&self) {
        self.hold(0..0);
    }

    /// From now on only so many connections are let through, those that were made already included.
    pub(crate) fn limit(&self, connections: usize) {
        self.state.send_modify(|state| state.limit = connections);
    }

    /// From now on a connection is closed instead of passing on a request with this command.
    pub(crate) fn poison(&self, command: Option<u16>) {
        self.state.send_modify(|state| state.poison = command);
    }

    /// Once, a connection is closed instead of passing on a frame of the client that looks like this, with its four length
    /// bytes.
    pub(crate) fn lose_request(&self, is_it: fn(&[u8]) -> bool) {
        self.seen().trap = Some(Trap::Request(is_it));
    }

    /// The same, and the frame still reaches the server: what is lost is the answer.
    pub(crate) fn lose_answer(&self, is_it: fn(&[u8]) -> bool) {
        self.seen().trap = Some(Trap::Answer(is_it));
    }

    /// Whether what was to be lost was lost.
    pub(crate) fn has_lost(&self) -> bool {
        self.seen().trap.is_none()
    }

    /// From now on everything takes this much longer, in each direction.
    pub(crate) fn delay(&self, one_way: Duration) {
        self.state.send_modify(|state| state.delay = one_way);
    }

    /// How many connections the client has made.
    pub(crate) fn connections(&self) -> usize {
        self.seen().connections
    }

    /// The connections that were let through and have not ended yet, by their numbers in the order in
    /// which they were made.
    pub(crate) fn living(&self) -> Vec<usize> {
        self.seen().living.iter().copied().collect()
    }

    /// How many frames the client has sent.
    pub(crate) fn frames(&self) -> u64 {
        self.seen().frames
    }

    /// How many of them ask for nothing but the next changes of a watched folder.
    pub(crate) fn watching_frames(&self) -> u64 {
        self.seen().watching
    }

    /// How many of them were encrypted.
    pub(crate) fn encrypted_frames(&self) -> u64 {
        self.seen().encrypted
    }

    /// How many of them were neither encrypted nor signed.
    pub(crate) fn unsigned_frames(&self) -> u64 {
        self.seen().unsigned
    }

    /// How many requests with this command the client has sent, compounded or not.
    pub(crate) fn requests(&self, command: u16) -> u64 {
        self.seen().commands.get(&command).copied().unwrap_or(0)
    }

    /// The first frames that the client has sent, with their four length bytes.
    pub(crate) fn first_frames(&self) -> Vec<Vec<u8>> {
        self.seen().first.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nobody panics with this lock")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A listener of this runtime; it works on threads of another runtime as well.
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

    /// The trap that this frame has sprung.
    fn spring(&mut self, frame: &[u8]) -> Option<Trap> {
        self.trap.take_if(|trap| match trap {
            Trap::Request(is_it) | Trap::Answer(is_it) => is_it(frame),
        })
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Receiver<State>, seen: Arc<Mutex<Seen>>) {
    for number in 0.. {
        let Ok((client, _)) = listener.accept().await else { return };
        seen.lock().expect("nobody panics with this lock").connections += 1;
        let admitted = {
            let state = state.borrow();
            state.mode != Mode::Refuse && number < state.limit
        };
        if admitted {
            seen.lock().expect("nobody panics with this lock").living.insert(number);
            let (state, seen) = (state.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                connection(client, number, target, state, Arc::clone(&seen)).await;
                seen.lock().expect("nobody panics with this lock").living.remove(&number);
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
        // Closing without lingering sends RST.
        let _ = client.set_zero_linger();
    }
}

/// What decides when the bytes of a connection pass.
#[derive(Clone)]
struct Gate {
    number: usize,
    state: watch::Receiver<State>,
}

impl Gate {
    /// Waits until bytes may pass. The proxy's end is the end of this task too.
    async fn open(&mut self) {
        let number = self.number;
        let _ = self.state.wait_for(|state| state.passes(number)).await;
    }
}

async fn pass(client: &mut TcpStream, target: SocketAddr, mut gate: Gate, seen: Arc<Mutex<Seen>>) -> io::Result<()> {
    // A stalled proxy does not even reach for the server.
    gate.open().await;
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (up, up_end) = mpsc::channel(QUEUE);
    let (down, down_end) = mpsc::channel(QUEUE);
    let deaf = AtomicBool::new(false);
    // Neither side of SMB closes one direction alone: when one ends, both do.
    tokio::select! {
        _ = async { tokio::join!(take(from_client, up, gate.clone(), Some(seen), &deaf), give(to_server, up_end, gate.clone())) } => {}
        _ = async { tokio::join!(take(from_server, down, gate.clone(), None, &deaf), give(to_client, down_end, gate.clone())) } => {}
    }
    Ok(())
}

type Piece = (Instant, Vec<u8>);

/// Reads until the sender closes, noting when each piece is due. A connection that is `deaf` ends with the server's next
/// bytes.
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
            let mut seen = seen.lock().expect("nobody panics with this lock");
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
