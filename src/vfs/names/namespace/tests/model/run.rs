//! A run: carries out its steps, one after the other, and compares every client with the server at the end.

use super::client::{Client, TIMEOUT};
use super::server::{Path, STRANGER, Server};
use super::steps::{Kind, Kind::*, Setting, Step};
use super::world::World;
use crate::vfs::model_runs::{self, Counts};
use std::rc::Rc;

/// The names that programs use.
pub(super) const NAMES: &[&str] = &["a", "b", "c", "A", "d~1"];
/// The most program calls in progress on a client.
const CALLS: usize = 5;
/// The rounds within which everything in flight has to arrive.
const ROUNDS: usize = 2000;

/// A run: a world and its clients.
pub(super) struct Run {
    world: Rc<World>,
    clients: Vec<Rc<Client>>,
    pace: u64,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.world.end();
    }
}

fn name(choice: u64) -> String {
    NAMES[choice as usize % NAMES.len()].to_owned()
}

/// The path of a folder, of at most two names, all lower-case: a client counts two spellings of a folder as two
/// folders.
fn folder(choice: u64) -> Path {
    let spelt = |level: u64| name(choice / 3 / (5 * level + 1)).to_lowercase();
    (0..choice % 3).map(spelt).collect()
}

fn is_folders_spelling(name: &str) -> bool {
    name == name.to_lowercase()
}

impl Run {
    pub(super) fn new(setting: &Setting, is_traced: bool) -> Run {
        let world = World::new(Server::new(setting.manner, setting.clients));
        world.pass(0);
        for (path, is_folder) in [("a", true), ("b", true), ("a/b", true), ("a/c", false), ("c", false)] {
            let path: Path = path.split('/').map(str::to_owned).collect();
            world.server.borrow_mut().make(STRANGER, &path, is_folder);
        }
        world.server.borrow_mut().unseen.clear();
        world.trace.replace(is_traced.then(Vec::new));
        let clients = (0..setting.clients).map(|index| Client::new(&world, index, setting)).collect();
        Run { world, clients, pace: setting.pace }
    }

    fn look_after(&self) {
        self.world.go_on();
        for client in &self.clients {
            client.look_after();
            client.check_bounds();
        }
    }

    /// The first message of one of a client's watches arrives.
    fn message_arrives(&self, client: usize, choice: u64) -> bool {
        let sent = {
            let mut server = self.world.server.borrow_mut();
            let mut first: Vec<usize> = Vec::new();
            for at in (0..server.sent.len()).filter(|at| server.sent[*at].client == client) {
                if !first.iter().any(|other| server.sent[*other].watch == server.sent[at].watch) {
                    first.push(at);
                }
            }
            first.retain(|at| self.clients[client].can_take(&server.sent[*at]));
            if first.is_empty() {
                return false;
            }
            server.sent.remove(first[choice as usize % first.len()])
        };
        self.clients[client].takes(sent);
        true
    }

    fn use_open(&self, client: usize, choice: u64) {
        let client = &self.clients[client];
        let mut nodes: Vec<u64> = client.space.borrow().nodes.keys().copied().collect();
        nodes.sort_unstable();
        client.uses_open(nodes[choice as usize % nodes.len()]);
    }

    fn program(&self, step: &Step) {
        let Step { kind, client, a, b, c } = *step;
        if self.clients[client].calls.get() >= CALLS {
            return;
        }
        let client = Rc::clone(&self.clients[client]);
        let world = Rc::clone(&self.world);
        world.spawn(async move {
            let caller = Rc::clone(&client);
            match kind {
                Stat => {
                    let path: Path = folder(a).into_iter().chain([name(b)]).collect();
                    let walk = async {
                        client.walk(&path).await;
                    };
                    caller.call(walk).await;
                }
                List => caller.call(client.list_folder(folder(a))).await,
                Make => caller.call(client.make(folder(a), name(b), c % 2 == 0)).await,
                Remove => caller.call(client.remove(folder(a), name(b))).await,
                _ => caller.call(client.rename((folder(a), name(b)), (folder(c), name(a + b)))).await,
            }
        });
    }

    /// A program on the server itself changes names.
    fn stranger(&self, step: &Step) {
        self.world.note(|| format!("{step:?}"));
        let Step { kind, a, b, c, .. } = *step;
        let path = |a: u64, b: u64| -> Path { folder(a).into_iter().chain([name(b)]).collect() };
        let mut server = self.world.server.borrow_mut();
        match kind {
            StrangerMakes => {
                server.make(STRANGER, &path(a, b), c % 2 == 0);
            }
            StrangerRemoves => {
                server.remove(STRANGER, &path(a, b), c % 2 == 0);
            }
            StrangerRenames => {
                server.rename(STRANGER, &path(a, b), &path(c, a + b));
            }
            _ => {
                // As an editor saves: a new file, or a new folder, in place of the old one.
                let (new, target) = (vec!["new".to_owned()], path(a, b));
                let is_folder = server.tree.resolve(&target).is_some_and(|id| server.tree.is_folder(id));
                if is_folder {
                    server.rename(STRANGER, &target, &["old".to_owned()]);
                }
                server.make(STRANGER, &new, is_folder);
                server.rename(STRANGER, &new, &target);
                self.world.count("a file replaced by a stranger");
            }
        }
    }

    /// Everything in flight arrives.
    fn deliver(&self) {
        for _ in 0..ROUNDS {
            let mut is_any = false;
            for client in 0..self.clients.len() {
                is_any |= self.message_arrives(client, 0);
                is_any |= self.world.work(client, 0);
                is_any |= self.world.answer(client, 0);
            }
            self.world.go_on();
            if !is_any {
                return;
            }
        }
        self.world.fail("requests or messages are still in flight at the end".into());
    }

    fn paths(&self) -> Vec<Path> {
        let one = |name: &&str| vec![(*name).to_owned()];
        let folders = NAMES.iter().filter(|name| is_folders_spelling(name));
        let two = folders.flat_map(|first| NAMES.iter().map(move |name| vec![(*first).to_owned(), (*name).to_owned()]));
        NAMES.iter().map(one).chain(two).collect()
    }

    fn look_everywhere(&self) {
        for client in &self.clients {
            for path in self.paths() {
                let client = Rc::clone(client);
                self.world.spawn(async move {
                    let is_spelt = path.iter().all(|name| is_folders_spelling(name));
                    if client.walk(&path).await.is_some() && is_spelt {
                        client.list_folder(path).await;
                    }
                });
                self.deliver();
            }
        }
    }

    fn compare_everywhere(&self) {
        for client in &self.clients {
            for path in self.paths() {
                let (looking, world) = (Rc::clone(client), Rc::clone(&self.world));
                self.world.spawn(async move {
                    let seen = looking.walk(&path).await.and_then(|ino| looking.id(ino));
                    let there = world.server.borrow().tree.resolve(&path);
                    if seen != there {
                        world.fail(format!("at the end client {} sees {seen:?} at {path:?}: {there:?}", looking.index));
                    }
                });
                self.deliver();
            }
        }
    }
}

impl model_runs::Run for Run {
    type Kind = Kind;

    fn step(&mut self, step: &Step) {
        let Step { kind, client, a, b, c } = *step;
        self.world.pass(c % self.pace);
        match kind {
            ServerWorks => {
                self.world.work(client, a);
            }
            Answer => {
                self.world.answer(client, a);
            }
            MessageArrives => {
                self.message_arrives(client, a);
            }
            Pass => self.world.pass(if a % 8 == 0 { b % 40_000 } else { b % 1500 }),
            StrangerMakes | StrangerRemoves | StrangerRenames | StrangerReplaces => self.stranger(step),
            Forget => self.clients[client].forget_some(a),
            UseOpen => self.use_open(client, a),
            _ => self.program(step),
        }
        self.look_after();
    }

    /// Everything in flight arrives. What the clients then answer is checked at once, and ten timeouts later, when
    /// every change must be known, compared with the server.
    fn finish(&mut self) {
        self.deliver();
        self.look_everywhere();
        for _ in 0..10 {
            self.world.pass(TIMEOUT);
            self.deliver();
        }
        self.look_everywhere();
        self.compare_everywhere();
    }

    fn wrong(&self) -> Option<String> {
        self.world.wrong.try_borrow().ok()?.clone()
    }

    fn counts(&self) -> Counts {
        self.world.counts.try_borrow().map(|counts| counts.clone()).unwrap_or_default()
    }

    fn trace(&self) -> Vec<String> {
        self.world.trace.take().unwrap_or_default()
    }
}
