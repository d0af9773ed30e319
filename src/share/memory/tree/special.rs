//! Symbolic links and special files of the share in memory.

use super::*;

impl MemoryShare {
    /// Another client makes a symbolic link, fifo, socket or device.
    pub(crate) fn make_as_other_client(&self, path: &str, new: NewSpecial<'_>) {
        self.change(|tree| tree.create_special(&RemotePath::parse(path), new)).unwrap();
    }

    /// The target of a link: without a request if the caller knows the present version.
    pub(in super::super) async fn target_of(&self, path: &RemotePath, known: &Metadata) -> Result<Option<Bytes>> {
        let is_current = |found: &Metadata| (found.changed, found.special) == (known.changed, known.special);
        let found = self.change(|tree| Ok::<_, NtStatus>((tree.stat(path)?, tree.target(path)?)));
        match found {
            Ok((metadata, target)) if is_current(&metadata) => Ok(target),
            _ => self.call("READLINK", path, |tree| tree.target(path)).await,
        }
    }
}

impl Tree {
    /// Makes a link or special file that must not exist yet.
    pub(in super::super) fn create_special(&mut self, path: &RemotePath, new: NewSpecial<'_>) -> Answer<Metadata> {
        let (parent, name) = self.split(path)?;
        if self.nodes[&parent].children.contains_key(&self.fold(&name)) {
            return Err(NtStatus::OBJECT_NAME_COLLISION);
        }
        let mut node = self.fresh(Attributes::ARCHIVE);
        node.metadata.special = Some(new.special());
        if let NewSpecial::Symlink(target) = new {
            node.target = Some(Bytes::copy_from_slice(target));
        }
        let id = self.attach(parent, &name, node);
        Ok(self.reported(id))
    }

    fn target(&self, path: &RemotePath) -> Answer<Option<Bytes>> {
        Ok(self.nodes[&self.find(path)?].target.clone())
    }
}
