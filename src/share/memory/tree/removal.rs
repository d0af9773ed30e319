//! Removing and renaming, where other clients may have the file open.

use super::*;

impl Tree {
    /// From now on this open shares the file with no other open.
    pub(in super::super) fn share_nothing(&mut self, open: u64) {
        if let Some(opening) = self.opens.get_mut(&open) {
            opening.shares_nothing = true;
        }
    }

    /// Whether the file's opens let it be opened, renamed and deleted.
    pub(super) fn check_shared(&self, id: u64) -> Answer<()> {
        let is_kept = self.opens.values().any(|open| open.node == id && open.shares_nothing);
        if is_kept { Err(NtStatus::SHARING_VIOLATION) } else { Ok(()) }
    }

    pub(in super::super) fn remove(&mut self, path: &RemotePath, kind: FileKind) -> Answer<()> {
        let id = self.find(path)?;
        let node = &self.nodes[&id];
        match (kind, node.metadata.kind()) {
            (FileKind::File, FileKind::Directory) => return Err(NtStatus::FILE_IS_A_DIRECTORY),
            (FileKind::Directory, FileKind::File) => return Err(NtStatus::NOT_A_DIRECTORY),
            _ => {}
        }
        if !node.children.is_empty() {
            return Err(NtStatus::DIRECTORY_NOT_EMPTY);
        }
        if node.metadata.attributes.has(Attributes::READONLY) {
            return Err(NtStatus::CANNOT_DELETE);
        }
        self.check_shared(id)?;
        if self.nodes[&id].names.len() > 1 {
            let (parent, name) = self.split(path)?;
            let key = self.fold(&name);
            self.unlink(parent, &key);
        } else if self.nodes[&id].opens > 0 {
            self.node(id).delete_pending = true;
            self.watchers.deleted(id);
        } else {
            self.remove_now(id);
        }
        Ok(())
    }

    /// Removes what is at a path. An open file is renamed to `aside` for that, if the name is given and free. Returns
    /// whether its own name is free.
    pub(in super::super) fn remove_aside(
        &mut self,
        path: &RemotePath,
        kind: FileKind,
        aside: Option<&RemotePath>,
    ) -> Answer<bool> {
        let id = self.find(path)?;
        self.remove(path, kind)?;
        if self.nodes.get(&id).is_none_or(|node| node.metadata.kind() != FileKind::File || !node.delete_pending) {
            return Ok(true);
        }
        let Some(aside) = aside else { return Ok(false) };
        let (parent, name) = self.split(aside)?;
        if self.nodes[&parent].children.contains_key(&self.fold(&name)) {
            return Ok(false);
        }
        self.move_name(path, (parent, &name))?;
        Ok(true)
    }

    /// Whether a file has no open. A file that is being deleted has one.
    pub(in super::super) fn is_unused(&self, path: &RemotePath) -> Answer<bool> {
        match self.find(path) {
            Err(NtStatus::DELETE_PENDING) => Ok(false),
            found => Ok(self.nodes[&found?].opens == 0),
        }
    }

    /// Renames a file over another one, which may be open.
    pub(in super::super) fn replace(&mut self, from: &RemotePath, to: &RemotePath, aside: &RemotePath) -> Answer<()> {
        let source = self.find(from)?;
        self.check_shared(source)?;
        if self.find(to).is_ok_and(|target| target != source && self.nodes[&target].opens > 0) {
            self.remove_aside(to, FileKind::File, Some(aside))?;
        }
        self.rename(from, to, true)
    }

    /// Renames by the rules of MS-FSA 2.1.5.14.11.
    pub(in super::super) fn rename(&mut self, from: &RemotePath, to: &RemotePath, replace: bool) -> Answer<()> {
        let id = self.find(from)?;
        let (parent, name) = self.split(to)?;
        self.check_shared(id)?;
        if self.has_open_files(id) {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let (old_parent, old_name) = self.split(from)?;
        let is_other_spelling = (old_parent, self.fold(&old_name)) == (parent, self.fold(&name));
        if let Some((_, target)) = self.nodes[&parent].children.get(&self.fold(&name)).cloned()
            && !is_other_spelling
        {
            if !replace {
                return Err(NtStatus::OBJECT_NAME_COLLISION);
            }
            if target == id {
                // Two names of one file, which a rename leaves alone.
                return Ok(());
            }
            let node = &self.nodes[&target];
            let kept = Attributes::READONLY | Attributes::DIRECTORY;
            if node.metadata.attributes.0 & kept != 0 || node.opens > 0 {
                return Err(NtStatus::ACCESS_DENIED);
            }
            let key = self.fold(&name);
            if self.unlink(parent, &key) {
                self.nodes.remove(&target);
            }
        }
        self.move_name(from, (parent, &name))?;
        let now = self.tick();
        self.node(id).metadata.changed = now;
        Ok(())
    }

    /// Replaces a name of a node by another one, which nothing has.
    fn move_name(&mut self, from: &RemotePath, to: (u64, &[u16])) -> Answer<()> {
        let (parent, name) = self.split(from)?;
        let key = self.fold(&name);
        let Some((_, id)) = self.nodes[&parent].children.get(&key).cloned() else { return Ok(()) };
        self.unlink(parent, &key);
        self.link(to.0, to.1, id);
        Ok(())
    }

    /// Renames a directory while these opens are closed, as the real share does.
    pub(in super::super) fn rename_around(&mut self, from: &RemotePath, to: &RemotePath, aside: &[u64]) -> Answer<()> {
        let nodes: Vec<u64> = aside.iter().filter_map(|open| Some(self.opens.get(open)?.node)).collect();
        nodes.iter().for_each(|id| self.node(*id).opens -= 1);
        let renamed = self.rename(from, to, false);
        nodes.iter().for_each(|id| self.node(*id).opens += 1);
        renamed
    }

    /// Whether a directory contains open files, at any depth. Such a directory cannot be renamed.
    fn has_open_files(&self, directory: u64) -> bool {
        let mut inside = self.nodes[&directory].children.values();
        inside.any(|(_, child)| self.nodes[child].opens > 0 || self.has_open_files(*child))
    }
}
