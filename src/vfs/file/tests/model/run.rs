//! A run: does its steps, one after the other, and carries requests, replies and breaks between clients and server.

use super::client::{CLOSING, Client};
use super::server::{OTHER_CLIENT, Reply, Request, Server};
use super::steps::{Kind, Kind::*, LONGEST, Setting, Step};
use super::world::World;
use crate::config::CacheMode;
use crate::share::Caching;
use crate::vfs::file::handle::Access;
use crate::vfs::model_runs::{self, Counts};
use std::rc::Rc;
use std::time::Duration;

/// The most program calls under way on a client.
const CALLS: u32 = 6;
/// The most handles of a client.
const HANDLES: usize = 5;
/// The time around the end of a session in which nothing else happens: a change at the same moment could not be
/// distinguished from the end.
const APART: Duration = Duration::from_millis(200);
/// The rounds within which everything under way must end.
const ROUNDS: usize = 3_000;

/// A run: a world and its clients.
pub(super) struct Run {
    world: Rc<World>,
    clients: Vec<Rc<Client>>,
    /// Opens of other clients.
    other_opens: Vec<u64>,
    /// Requests of other clients that wait for an acknowledgement.
    waiting: Vec<Request>,
    next_value: u8,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.world.end();
    }
}

impl Run {
    pub(super) fn new(setting: &Setting) -> Run {
        let sizes: Vec<usize> = [5000, 300].into_iter().take(setting.files).collect();
        let world = World::new(Server::new(setting.manner, &sizes), setting.clients);
        let clients = (0..setting.clients).map(|index| Client::new(&world, index)).collect();
        let run = Run { world, clients, other_opens: Vec::new(), waiting: Vec::new(), next_value: 0 };
        (0..setting.clients).for_each(|client| run.connect(client));
        run
    }

    fn value(&mut self) -> u8 {
        self.next_value = self.next_value % 150 + 1;
        self.next_value
    }

    /// Lets everything continue that can.
    fn continue_all(&mut self, stalls: u64) {
        self.world.note();
        self.send_breaks();
        self.retry();
        self.world.go_on(stalls);
        for client in &self.clients {
            client.files.borrow().iter().for_each(|file| client.check_granted(file));
        }
    }

    fn send_breaks(&self) {
        let breaks = std::mem::take(&mut self.world.server.borrow_mut().breaks);
        for (client, session, breaking) in breaks {
            let mut line = self.clients[client].remote.line.borrow_mut();
            let alive = line.session.is_some_and(|live| live.number == session) && line.at_server == Some(session);
            if alive {
                line.breaks.push_back(breaking);
            }
        }
    }

    /// The server looks again at requests that wait for an acknowledgement.
    fn retry(&mut self) {
        for request in std::mem::take(&mut self.waiting) {
            self.other_client_sends(request);
        }
        for (index, client) in self.clients.iter().enumerate() {
            let waiting = std::mem::take(&mut client.remote.line.borrow_mut().waiting);
            let Some(session) = client.remote.line.borrow().at_server else { continue };
            for (number, request) in waiting {
                let reply = self.world.work(index, session, &request);
                let mut line = client.remote.line.borrow_mut();
                match reply {
                    Some(reply) => line.down.push((number, reply)),
                    None => line.waiting.push((number, request)),
                }
            }
        }
        self.send_breaks();
    }

    fn server_works(&self, index: usize, choice: u64) -> bool {
        let line = &self.clients[index].remote.line;
        let (session, number, request) = {
            let mut line = line.borrow_mut();
            let alive = line.at_server.filter(|at_server| line.session.is_some_and(|live| live.number == *at_server));
            let Some(session) = alive else { return false };
            if line.up.is_empty() {
                return false;
            }
            let at = choice as usize % line.up.len().min(4);
            let (number, request) = line.up.remove(at);
            (session, number, request)
        };
        let reply = self.world.work(index, session, &request);
        let mut line = line.borrow_mut();
        match reply {
            Some(reply) => line.down.push((number, reply)),
            None => line.waiting.push((number, request)),
        }
        true
    }

    fn answer(&self, index: usize, choice: u64) -> bool {
        let remote = &self.clients[index].remote;
        let (number, reply) = {
            let down = &mut remote.line.borrow_mut().down;
            if down.is_empty() {
                return false;
            }
            down.remove(choice as usize % down.len())
        };
        remote.answered(number, reply);
        true
    }

    fn break_arrives(&self, index: usize) -> bool {
        let remote = &self.clients[index].remote;
        let breaking = remote.line.borrow_mut().breaks.pop_front();
        breaking.map(|breaking| remote.broken(breaking)).is_some()
    }

    fn server_breaks(&self, holder: u64, choice: u64) {
        let left = [Caching::NONE, Caching::READ, Caching::READ | Caching::HANDLE, Caching::READ | Caching::WRITE];
        let at = choice as usize % left.len();
        self.world.server.borrow_mut().break_one(holder as usize, left[at]);
    }
}

/// Calls of programs.
impl Run {
    fn program(&mut self, step: &Step) {
        let Step { kind, client: index, a, b, c } = *step;
        let client = Rc::clone(&self.clients[index]);
        let file = {
            let files = client.files.borrow();
            Rc::clone(&files[a as usize % files.len()])
        };
        let handle = {
            let handles = client.handles.borrow();
            (!handles.is_empty()).then(|| Rc::clone(&handles[a as usize % handles.len()]))
        };
        let calls: u32 = client.files.borrow().iter().map(|file| file.users.get()).sum();
        let may_call = calls < CALLS;
        match (kind, handle) {
            (Open, _) if may_call && client.handles.borrow().len() < HANDLES => {
                let flags = match b % 8 {
                    0 | 1 => libc::O_RDONLY,
                    2 => libc::O_WRONLY,
                    3 => libc::O_RDWR | libc::O_TRUNC,
                    _ => libc::O_RDWR,
                };
                let Ok(access) = Access::from_flags(flags, CacheMode::Strict) else { return };
                self.world.spawn(client.open(file, access));
            }
            (Close, Some(handle)) if handle.busy.get() == 0 => {
                handle.busy.set(CLOSING);
                file.users.set(file.users.get() + 1);
                let of = Rc::clone(&handle.file);
                file.users.set(file.users.get() - 1);
                of.users.set(of.users.get() + 1);
                self.world.spawn(async move {
                    client.close_handle(handle).await;
                    of.users.set(of.users.get() - 1);
                });
            }
            (Read | Write | WriteMapped | WriteBack | Sync, Some(handle))
                if handle.busy.get() < CLOSING && may_call =>
            {
                let value = self.value();
                let step = *step;
                handle.busy.set(handle.busy.get() + 1);
                handle.file.users.set(handle.file.users.get() + 1);
                self.world.spawn(async move {
                    match step.kind {
                        Read if handle.access.read => client.call_read(&handle, b % LONGEST, 1 + c % 2500).await,
                        Write if handle.access.write => {
                            let offset = if b % 3 == 0 { b % LONGEST / 1024 * 1024 } else { b % LONGEST };
                            let length =
                                [1 + c % 100, 1 + c % 700, 1024][(c >> 12) as usize % 3].min(LONGEST - offset).max(1);
                            client.call_write(&handle, offset, &vec![value; length as usize]).await;
                        }
                        WriteMapped if handle.access.may_map_for_writing() => {
                            client.write_mapped(&handle, b % LONGEST, value).await;
                        }
                        WriteBack => client.write_back(&handle.file).await,
                        Sync => client.call_sync(&handle).await,
                        _ => {}
                    }
                    handle.busy.set(handle.busy.get() - 1);
                    handle.file.users.set(handle.file.users.get() - 1);
                });
            }
            (Truncate | Touch | Stat, _) if may_call => {
                file.users.set(file.users.get() + 1);
                self.world.spawn(async move {
                    match kind {
                        Truncate => client.call_truncate(&file, b % LONGEST).await,
                        Touch => client.call_touch(&file).await,
                        _ => drop(client.refresh(&file).await),
                    }
                    file.users.set(file.users.get() - 1);
                });
            }
            (ExpireKept, _) if file.state.borrow().has_kept_open() => {
                use crate::vfs::file::event::Event;
                client.event(&file, Event::KeptOpenUnwanted);
            }
            (Forget, _) => client.forget(file.file),
            _ => {}
        }
    }
}

/// Other clients, and programs on the server.
impl Run {
    fn stranger(&mut self, step: &Step) {
        let Step { kind, a, b, c, .. } = *step;
        let file = a as usize % self.world.server.borrow().disks.len();
        let open = (!self.other_opens.is_empty()).then(|| self.other_opens[b as usize % self.other_opens.len()]);
        let value = 150 + self.value() % 100;
        match (kind, open) {
            (StrangerOpens, _) if self.other_opens.len() + self.waiting.len() < 3 => {
                self.other_client_sends(Request::Create { file, lease: None, write: b % 2 == 0, truncate: false });
            }
            (StrangerCloses, Some(open)) => {
                self.other_opens.retain(|other| *other != open);
                self.other_client_sends(Request::Close { open });
            }
            (StrangerWrites, Some(open)) => {
                let (offset, data) = (c % (LONGEST - 700), vec![value; 1 + (a % 700) as usize]);
                self.other_client_sends(Request::Write {
                    open,
                    offset,
                    data,
                    flush: false,
                    touch: false,
                    origin: Default::default(),
                });
            }
            (StrangerTruncates, Some(open)) => self.other_client_sends(Request::SetSize { open, size: c % LONGEST }),
            (DiskWrites, _) => {
                let (offset, data, clock) = (c % (LONGEST - 700), vec![value; 100], self.world.clock());
                self.world.server.borrow_mut().write_on_disk(file, offset, &data, clock);
                self.world.note();
                self.world.promises.borrow_mut().was_on_disk(file);
            }
            _ => {}
        }
    }

    fn other_client_sends(&mut self, request: Request) {
        match self.world.work(OTHER_CLIENT, 0, &request) {
            Some(Reply::Created { open, .. }) => self.other_opens.push(open),
            Some(_) => {}
            None => self.waiting.push(request),
        }
    }
}

/// Lost sessions.
impl Run {
    fn lose(&self, index: usize, choice: u64, done: u64) {
        let client = &self.clients[index];
        // Some requests are done, but their replies are lost.
        for pick in 0..done % 4 {
            self.server_works(index, pick);
        }
        if !choice.is_multiple_of(3) {
            self.end_at_server(index);
        }
        if choice % 3 != 1 {
            client.remote.lost();
        }
        self.world.pass(APART);
        self.world.count("sessions lost");
    }

    fn end_at_server(&self, index: usize) {
        let line = &self.clients[index].remote.line;
        line.borrow_mut().waiting.clear();
        let Some(session) = line.borrow_mut().at_server.take() else { return };
        self.world.server.borrow_mut().ended(session, self.world.clock());
        self.world.promises.borrow_mut().ended(index);
    }

    fn notice(&self, index: usize) {
        let client = &self.clients[index];
        let is_gone = client.remote.line.borrow().at_server.is_none();
        if is_gone {
            client.remote.lost();
        }
    }

    fn connect(&self, index: usize) {
        let client = &self.clients[index];
        if client.remote.line.borrow().session.is_some() {
            return;
        }
        let begun = self.world.clock();
        self.end_at_server(index);
        self.world.pass(Duration::from_millis(20));
        client.remote.connected(self.world.number(), (begun, self.world.clock()));
        self.world.pass(APART);
    }

    fn stop_waiting(&self, index: usize) {
        let line = self.clients[index].remote.line.borrow();
        if line.session.is_none()
            && let Some(session) = line.at_server
        {
            self.world.server.borrow_mut().stop_waiting(session);
            self.world.promises.borrow_mut().ended(index);
        }
    }

    fn restart(&mut self, choice: u64) {
        self.world.count("restarts");
        self.other_opens.clear();
        self.waiting.clear();
        (0..self.clients.len()).for_each(|index| self.end_at_server(index));
        self.world.server.borrow_mut().restart();
        let disks: Vec<Vec<u8>> = self.world.server.borrow().disks.iter().map(|disk| disk.data.clone()).collect();
        for (file, data) in disks.into_iter().enumerate() {
            self.world.promises.borrow_mut().restarted(file, data);
        }
        if choice.is_multiple_of(2) {
            (0..self.clients.len()).for_each(|index| self.notice(index));
        }
    }
}

impl model_runs::Run for Run {
    type Kind = Kind;

    fn step(&mut self, step: &Step) {
        let Step { kind, client, a, b, c } = *step;
        self.world.pass(Duration::from_millis(200 + c % 300));
        match kind {
            ServerWorks => {
                self.server_works(client, a);
            }
            Answer => {
                self.answer(client, a);
            }
            BreakArrives => {
                self.break_arrives(client);
            }
            BreakIsRead => self.clients[client].read_break(),
            BreakIsHandedOn => {
                self.clients[client].hand_on();
            }
            Pass => self.world.pass(Duration::from_millis(a % 4000)),
            StrangerOpens | StrangerCloses | StrangerWrites | StrangerTruncates | DiskWrites => self.stranger(step),
            ServerBreaks => self.server_breaks(a, b),
            DiskIsFull => self.world.server.borrow_mut().full = 1,
            DiskFlushesPage => {
                let mut server = self.world.server.borrow_mut();
                let file = a as usize % server.disks.len();
                server.write_back(file, b as usize % 3);
            }
            LoseSession => self.lose(client, a, b),
            Notice => self.notice(client),
            Connect => self.connect(client),
            StopWaiting => self.stop_waiting(client),
            Restart => self.restart(a),
            ChangeId => {
                let mut server = self.world.server.borrow_mut();
                let file = a as usize % server.disks.len();
                server.disks[file].id = 10 + b;
            }
            _ => self.program(step),
        }
        self.continue_all(c / 300);
    }

    /// Brings everything to its end, without faults.
    fn finish(&mut self) {
        self.world.server.borrow_mut().full = 0;
        for round in 0..ROUNDS {
            self.world.pass(Duration::from_millis(250));
            if round == 60 {
                let other_opens = std::mem::take(&mut self.other_opens);
                other_opens.into_iter().for_each(|open| self.other_client_sends(Request::Close { open }));
            }
            let mut is_busy = round < 70;
            for index in 0..self.clients.len() {
                self.notice(index);
                self.connect(index);
                while self.server_works(index, 0) | self.answer(index, 0) | self.break_arrives(index) {
                    is_busy = true;
                }
                let client = Rc::clone(&self.clients[index]);
                client.read_break();
                is_busy |= client.hand_on();
                let handle = client.handles.borrow().iter().find(|handle| handle.busy.get() == 0).map(Rc::clone);
                if let Some(handle) = handle
                    && round > 20
                {
                    handle.busy.set(CLOSING);
                    is_busy = true;
                    self.world.spawn(client.close_handle(handle));
                } else if round > 20 {
                    use crate::vfs::file::event::Event;
                    let files: Vec<_> = client.files.borrow().iter().map(Rc::clone).collect();
                    for file in files {
                        if file.state.borrow().has_kept_open() {
                            client.event(&file, Event::KeptOpenUnwanted);
                        }
                    }
                }
            }
            self.continue_all(0);
            if !is_busy && self.world.go_on(0) == 0 && self.waiting.is_empty() {
                break;
            }
        }
        let left = self.world.go_on(0);
        if left > 0 || self.world.server.borrow().is_waiting() || !self.waiting.is_empty() {
            self.world.fail(format!(
                "{left} calls wait for ever; a break is not acknowledged: {}",
                self.world.server.borrow().is_waiting()
            ));
        }
        self.clients.iter().for_each(|client| client.check_idle());
    }

    fn wrong(&self) -> Option<String> {
        self.world.promises.try_borrow().ok()?.broken.clone()
    }

    fn counts(&self) -> Counts {
        self.world.promises.try_borrow().map(|promises| promises.counts.clone()).unwrap_or_default()
    }
}
