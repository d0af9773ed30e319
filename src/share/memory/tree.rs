//! The files of the share in memory: nodes by id, directories with their entries, and opens.

mod removal;
mod special;

use super::super::leases::Grant;
use super::grants::Grants;
use super::watches::Watchers;
use super::*;
use crate::share::Ownership;
use std::collections::BTreeMap;

type Answer<T> = std::result::Result<T, NtStatus>;

const ROOT: u64 = 1;
const PAGE: u64 = 4096;
/// The first file id. Ids begin high, so that none is mistaken for a number that the file system made up.
const FIRST_ID: u64 = 1000;
/// The server's clock at the beginning: 2020-01-01, in units of 100 ns since 1601.
const EPOCH: u64 = 132_223_104_000_000_000;

#[derive(Debug)]
pub(super) struct Tree {
    behaviour: Behaviour,
    nodes: HashMap<u64, Node>,
    opens: HashMap<u64, Opening>,
    pub(super) grants: Grants,
    pub(super) watchers: Watchers,
    next: u64,
    clock: u64,
}

#[derive(Debug, Default)]
struct Node {
    metadata: Metadata,
    /// The directory of each name, and the folded name.
    names: Vec<(u64, Vec<u16>)>,
    owner: Ownership,
    /// By folded name: the name and the node.
    children: BTreeMap<Vec<u16>, (Vec<u16>, u64)>,
    /// Pages that are not all zeros.
    pages: BTreeMap<u64, Vec<u8>>,
    opens: usize,
    delete_pending: bool,
    /// The target of a symbolic link.
    target: Option<Bytes>,
}

#[derive(Clone, Copy, Debug)]
struct Opening {
    node: u64,
    how: OpenHow,
    /// No other open may use the file.
    shares_nothing: bool,
}

impl Tree {
    pub(super) fn new(behaviour: Behaviour) -> Tree {
        let mut tree = Tree {
            behaviour,
            nodes: HashMap::new(),
            opens: HashMap::new(),
            grants: Grants::default(),
            watchers: Watchers::default(),
            next: FIRST_ID,
            clock: EPOCH,
        };
        let root = tree.fresh(Attributes::DIRECTORY);
        tree.nodes.insert(ROOT, root);
        tree
    }

    fn tick(&mut self) -> FileTime {
        self.clock += 1_000_000;
        FileTime(self.clock)
    }

    fn fresh(&mut self, attributes: u32) -> Node {
        let now = self.tick();
        let metadata = Metadata {
            attributes: Attributes(attributes),
            created: now,
            accessed: now,
            modified: now,
            changed: now,
            ..Metadata::default()
        };
        Node { metadata, ..Node::default() }
    }

    fn fold(&self, name: &[u16]) -> Vec<u16> {
        if self.behaviour.ignores_case {
            String::from_utf16_lossy(name).to_lowercase().encode_utf16().collect()
        } else {
            name.to_vec()
        }
    }

    fn find(&self, path: &RemotePath) -> Answer<u64> {
        let mut at = ROOT;
        for (depth, name) in path.components().enumerate() {
            let last = depth + 1 == path.components().count();
            let node = &self.nodes[&at];
            if node.metadata.kind() == FileKind::File {
                return Err(NtStatus::OBJECT_PATH_NOT_FOUND);
            }
            let missing = if last { NtStatus::OBJECT_NAME_NOT_FOUND } else { NtStatus::OBJECT_PATH_NOT_FOUND };
            at = node.children.get(&self.fold(name)).ok_or(missing)?.1;
            if self.nodes[&at].delete_pending {
                return Err(NtStatus::DELETE_PENDING);
            }
        }
        Ok(at)
    }

    /// The directory that contains a path, and the name in it.
    fn split(&self, path: &RemotePath) -> Answer<(u64, Vec<u16>)> {
        let mut names: Vec<&[u16]> = path.components().collect();
        let name = names.pop().ok_or(NtStatus::OBJECT_NAME_INVALID)?.to_vec();
        let parent = names.iter().fold(RemotePath::root(), |path, name| path.join(name));
        match self.find(&parent) {
            Ok(node) if self.nodes[&node].metadata.kind() == FileKind::Directory => Ok((node, name)),
            _ => Err(NtStatus::OBJECT_PATH_NOT_FOUND),
        }
    }

    fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    /// Metadata as the server reports it, with ids of the configured kind.
    fn reported(&mut self, id: u64) -> Metadata {
        self.next += 1;
        let file_id = match self.behaviour.ids {
            Ids::Stable => id,
            Ids::None => 0,
            Ids::Unstable => self.next,
        };
        let node = &self.nodes[&id];
        Metadata { file_id, links: node.names.len() as u32, ..node.metadata }
    }

    fn attach(&mut self, parent: u64, name: &[u16], node: Node) -> u64 {
        self.next += 1;
        let id = self.next;
        self.nodes.insert(id, node);
        self.link(parent, name, id);
        id
    }

    fn link(&mut self, parent: u64, name: &[u16], id: u64) {
        let (key, now) = (self.fold(name), self.tick());
        self.node(id).names.push((parent, key.clone()));
        let directory = self.node(parent);
        let replaced = directory.children.insert(key.clone(), (name.to_vec(), id));
        if let Some((_, replaced)) = replaced {
            self.node(replaced).names.retain(|name| *name != (parent, key.clone()));
        }
        let directory = self.node(parent);
        directory.metadata.modified = now;
        directory.metadata.changed = now;
        self.watchers.note(parent, name, ChangeKind::Added);
        self.note(parent, ChangeKind::Modified);
    }

    /// Takes a name from a node. Returns whether it was the last one.
    fn unlink(&mut self, parent: u64, key: &[u16]) -> bool {
        let now = self.tick();
        let directory = self.node(parent);
        let Some((name, id)) = directory.children.remove(key) else { return false };
        directory.metadata.modified = now;
        directory.metadata.changed = now;
        self.watchers.note(parent, &name, ChangeKind::Removed);
        self.note(parent, ChangeKind::Modified);
        let node = self.node(id);
        node.metadata.changed = now;
        node.names.retain(|(directory, name)| (*directory, &name[..]) != (parent, key));
        node.names.is_empty()
    }

    /// Reports a change of a node to the watches of its directories.
    fn note(&mut self, id: u64, kind: ChangeKind) {
        for (parent, key) in self.nodes[&id].names.clone() {
            let name = self.nodes[&parent].children[&key].0.clone();
            self.watchers.note(parent, &name, kind);
        }
    }

    /// Watches a directory, which counts as an open of it.
    pub(super) fn watch(&mut self, path: &RemotePath) -> Answer<u64> {
        let id = self.find(path)?;
        self.node(id).opens += 1;
        Ok(self.watchers.begin(id))
    }

    pub(super) fn unwatch(&mut self, watch: u64) {
        if let Some(id) = self.watchers.end(watch) {
            self.let_go(id);
        }
    }

    fn let_go(&mut self, id: u64) {
        let node = self.node(id);
        node.opens -= 1;
        if node.opens == 0 && node.delete_pending {
            self.remove_now(id);
        }
    }

    pub(super) fn now(&self) -> FileTime {
        FileTime(self.clock)
    }

    fn remove_now(&mut self, id: u64) {
        for (parent, key) in self.nodes[&id].names.clone() {
            self.unlink(parent, &key);
        }
        self.nodes.remove(&id);
    }

    fn wrote(&mut self, id: u64) {
        let now = self.tick();
        let metadata = &mut self.node(id).metadata;
        metadata.modified = now;
        metadata.changed = now;
        metadata.allocation = metadata.size.next_multiple_of(PAGE);
        self.note(id, ChangeKind::Modified);
    }

    fn resize(&mut self, id: u64, size: u64) {
        let node = self.node(id);
        node.metadata.size = size;
        node.pages.retain(|page, _| page * PAGE < size);
        if let Some(page) = node.pages.get_mut(&(size / PAGE)) {
            page[(size % PAGE) as usize..].fill(0);
        }
        self.wrote(id);
    }

    fn write_at(&mut self, id: u64, offset: u64, data: &[u8]) {
        let node = self.node(id);
        for (at, byte) in (offset..).zip(data) {
            node.pages.entry(at / PAGE).or_insert_with(|| vec![0; PAGE as usize])[(at % PAGE) as usize] = *byte;
        }
        node.metadata.size = node.metadata.size.max(offset + data.len() as u64);
        self.wrote(id);
    }

    fn read_at(&self, id: u64, offset: u64, length: u64) -> Vec<u8> {
        let node = &self.nodes[&id];
        let end = offset.saturating_add(length).min(node.metadata.size);
        let byte = |at: u64| node.pages.get(&(at / PAGE)).map_or(0, |page| page[(at % PAGE) as usize]);
        (offset..end.max(offset)).map(byte).collect()
    }

    pub(super) fn stat(&mut self, path: &RemotePath) -> Answer<Metadata> {
        let id = self.find(path)?;
        Ok(self.reported(id))
    }

    pub(super) fn open(&mut self, path: &RemotePath, how: OpenHow) -> Answer<(u64, Metadata, CreateAction)> {
        use Disposition::*;
        let (parent, name) = self.split(path)?;
        let (id, action) = match self.find(path) {
            Err(NtStatus::OBJECT_NAME_NOT_FOUND) if matches!(how.disposition, Create | OpenIf | OverwriteIf) => {
                let readonly = if how.readonly { Attributes::READONLY } else { Attributes::ARCHIVE };
                let node = self.fresh(readonly);
                (self.attach(parent, &name, node), CreateAction::Created)
            }
            Err(status) => return Err(status),
            Ok(_) if how.disposition == Create => return Err(NtStatus::OBJECT_NAME_COLLISION),
            Ok(id) => (id, self.open_existing(id, how)?),
        };
        self.node(id).opens += 1;
        self.next += 1;
        self.opens.insert(self.next, Opening { node: id, how, shares_nothing: false });
        let open = self.next;
        Ok((open, self.reported(id), action))
    }

    fn open_existing(&mut self, id: u64, how: OpenHow) -> Answer<CreateAction> {
        let attributes = self.nodes[&id].metadata.attributes;
        if attributes.has(Attributes::DIRECTORY) {
            return Err(NtStatus::FILE_IS_A_DIRECTORY);
        }
        if how.write && attributes.has(Attributes::READONLY) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        self.check_shared(id)?;
        if !matches!(how.disposition, Disposition::Overwrite | Disposition::OverwriteIf) {
            return Ok(CreateAction::Opened);
        }
        self.resize(id, 0);
        self.grants.contend(id, how.lease.map(|lease| lease.key), Caching::NONE);
        Ok(CreateAction::Overwritten)
    }

    /// How much the server grants of the lease that an open requested.
    pub(super) fn grant(&mut self, open: u64) -> Grant {
        let Opening { node, how, .. } = self.opens[&open];
        let Some(lease) = how.lease.filter(|_| self.behaviour.leases) else { return Grant::Nothing };
        let alone = self.keys(node).all(|key| key == Some(lease.key));
        self.grants.grant(node, lease, alone)
    }

    /// The keys of all opens of a file.
    fn keys(&self, node: u64) -> impl Iterator<Item = Option<LeaseKey>> {
        let opens = self.opens.values().filter(move |open| open.node == node);
        opens.map(|open| open.how.lease.map(|lease| lease.key))
    }

    /// An open with this key, or without one, comes for a file. Returns whether it has to wait.
    pub(super) fn contend(&mut self, path: &RemotePath, key: Option<LeaseKey>) -> bool {
        let Ok(id) = self.find(path) else { return false };
        self.grants.contend(id, key, Caching::READ | Caching::HANDLE);
        self.grants.is_written_back(id, key)
    }

    /// The connection of all opens with a lease is lost, and their leases with it.
    pub(super) fn lose_leases(&mut self) {
        self.grants.forget_all();
        self.opens.values_mut().for_each(|open| open.how.lease = None);
    }

    fn opened(&self, open: u64) -> Answer<Opening> {
        self.opens.get(&open).copied().ok_or(NtStatus::FILE_CLOSED)
    }

    pub(super) fn open_files(&self) -> usize {
        self.opens.len()
    }

    pub(super) fn metadata(&mut self, open: u64) -> Answer<Metadata> {
        let id = self.opened(open)?.node;
        Ok(self.reported(id))
    }

    pub(super) fn read(&mut self, open: u64, offset: u64, length: u32) -> Answer<Bytes> {
        let open = self.opened(open)?;
        if !open.how.read {
            return Err(NtStatus::ACCESS_DENIED);
        }
        Ok(self.read_at(open.node, offset, u64::from(length)).into())
    }

    pub(super) fn write(&mut self, open: u64, offset: u64, data: &[u8]) -> Answer<()> {
        let open = self.opened(open)?;
        if !open.how.write {
            return Err(NtStatus::ACCESS_DENIED);
        }
        self.write_at(open.node, offset, data);
        self.grants.contend(open.node, open.how.lease.map(|lease| lease.key), Caching::NONE);
        Ok(())
    }

    /// Copies from an open at an offset to another.
    pub(super) fn copy(&mut self, from: (u64, u64), to: (u64, u64), length: u32) -> Answer<u32> {
        let data = self.read(from.0, from.1, length)?;
        self.write(to.0, to.1, &data)?;
        Ok(data.len() as u32)
    }

    pub(super) fn flush(&mut self, open: u64) -> Answer<()> {
        // MS-SMB2 3.3.5.11: the open needs the right to write.
        if self.opened(open)?.how.write { Ok(()) } else { Err(NtStatus::ACCESS_DENIED) }
    }

    pub(super) fn close(&mut self, open: u64) -> Answer<Metadata> {
        let Opening { node: id, how, .. } = self.opens.remove(&open).ok_or(NtStatus::FILE_CLOSED)?;
        if let Some(lease) = how.lease
            && !self.keys(id).any(|key| key == Some(lease.key))
        {
            self.grants.closed(id, lease.key);
        }
        let metadata = self.reported(id);
        self.let_go(id);
        Ok(metadata)
    }

    pub(super) fn set_path(&mut self, path: &RemotePath, change: &Change) -> Answer<()> {
        let id = self.find(path)?;
        if change.size.is_some() && self.nodes[&id].metadata.attributes.has(Attributes::READONLY) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        self.set(id, None, change);
        Ok(())
    }

    pub(super) fn set_open(&mut self, open: u64, change: &Change) -> Answer<()> {
        let open = self.opened(open)?;
        if !open.how.write {
            return Err(NtStatus::ACCESS_DENIED);
        }
        self.set(open.node, open.how.lease.map(|lease| lease.key), change);
        Ok(())
    }

    fn set(&mut self, id: u64, key: Option<LeaseKey>, change: &Change) {
        if let Some(size) = change.size {
            self.resize(id, size);
            self.grants.contend(id, key, Caching::NONE);
        }
        let now = self.tick();
        let metadata = &mut self.node(id).metadata;
        metadata.changed = now;
        metadata.created = change.created.unwrap_or(metadata.created);
        metadata.accessed = change.accessed.unwrap_or(metadata.accessed);
        metadata.modified = change.modified.unwrap_or(metadata.modified);
        if let Some(attributes) = change.attributes {
            metadata.attributes.0 = attributes.0 | metadata.attributes.0 & Attributes::DIRECTORY;
        }
        self.note(id, ChangeKind::Modified);
    }

    pub(super) fn mark(&mut self, path: &RemotePath, attributes: Attributes) {
        let id = self.find(path).unwrap();
        self.set(id, None, &Change { attributes: Some(attributes), ..Change::default() });
    }

    pub(super) fn owner(&self, path: &RemotePath) -> Answer<Ownership> {
        Ok(self.nodes[&self.find(path)?].owner)
    }

    pub(super) fn set_owner(&mut self, path: &RemotePath, owner: Ownership) -> Answer<Ownership> {
        let id = self.find(path)?;
        let now = self.tick();
        let node = self.node(id);
        (node.owner, node.metadata.changed) = (owner.over(node.owner), now);
        Ok(owner)
    }

    pub(super) fn create_directory(&mut self, path: &RemotePath) -> Answer<Metadata> {
        let (parent, name) = self.split(path)?;
        if self.nodes[&parent].children.contains_key(&self.fold(&name)) {
            return Err(NtStatus::OBJECT_NAME_COLLISION);
        }
        let node = self.fresh(Attributes::DIRECTORY);
        let id = self.attach(parent, &name, node);
        Ok(self.reported(id))
    }

    pub(super) fn list(&mut self, path: &RemotePath) -> Answer<Vec<DirEntry>> {
        let id = self.find(path)?;
        if self.nodes[&id].metadata.kind() == FileKind::File {
            return Err(NtStatus::NOT_A_DIRECTORY);
        }
        let children: Vec<_> = self.nodes[&id].children.values().cloned().collect();
        let listed = |tree: &mut Tree, child| Metadata { links: 0, ..tree.reported(child) };
        Ok(children.into_iter().map(|(name, child)| DirEntry { name, metadata: listed(self, child) }).collect())
    }

    pub(super) fn put(&mut self, path: &RemotePath, data: &[u8]) {
        let (parent, name) = self.split(path).unwrap();
        let id = self.find(path).unwrap_or_else(|_| {
            let node = self.fresh(Attributes::ARCHIVE);
            self.attach(parent, &name, node)
        });
        self.resize(id, 0);
        self.write_at(id, 0, data);
        self.grants.contend(id, None, Caching::NONE);
    }

    pub(super) fn link_to(&mut self, from: &RemotePath, to: &RemotePath) -> Answer<Metadata> {
        let id = self.find(from)?;
        let (parent, name) = self.split(to)?;
        if self.nodes[&id].metadata.kind() == FileKind::Directory {
            return Err(NtStatus::FILE_IS_A_DIRECTORY);
        }
        if self.nodes[&parent].children.contains_key(&self.fold(&name)) {
            return Err(NtStatus::OBJECT_NAME_COLLISION);
        }
        if self.behaviour.copies_links {
            let copy = self.fresh(Attributes::ARCHIVE);
            self.attach(parent, &name, copy);
            return Ok(self.reported(id));
        }
        self.link(parent, &name, id);
        let now = self.tick();
        self.node(id).metadata.changed = now;
        Ok(self.reported(id))
    }

    pub(super) fn put_name(&mut self, directory: &RemotePath, name: &[u16]) {
        let parent = self.find(directory).unwrap();
        let node = self.fresh(Attributes::ARCHIVE);
        self.attach(parent, name, node);
    }

    pub(super) fn data(&self, path: &RemotePath) -> Option<Vec<u8>> {
        let id = self.find(path).ok()?;
        Some(self.read_at(id, 0, u64::MAX))
    }
}
