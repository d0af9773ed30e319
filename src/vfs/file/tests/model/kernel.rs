//! The kernel of a client: its pages of a file, among them those that programs have dirtied through a mapping.

use super::client::{Client, ClientFile, GRID, Handle, until};
use super::server::Origin;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A page of the kernel.
#[derive(Debug)]
struct Page {
    data: Vec<u8>,
    /// The number of the READ that brought it.
    read: u64,
    /// The number at which it was dirtied, if it is dirty.
    dirtied: Option<u64>,
}

/// The kernel's part of a file. A page has the length of a chunk, and is kept only if it is whole.
#[derive(Default, Debug)]
pub(super) struct Kernel {
    pages: RefCell<BTreeMap<u64, Page>>,
    /// Pages that are being read or sent.
    locked: RefCell<BTreeSet<u64>>,
    /// The lock under which write(2) and truncate(2) of a file run one after the other.
    is_locked: Cell<bool>,
    /// Handles that must report that a dirty page could not be written.
    errors: RefCell<BTreeSet<u64>>,
}

impl Kernel {
    /// Waits for the lock of write(2) and truncate(2).
    pub(super) async fn lock(&self) {
        until(|| !self.is_locked.replace(true)).await;
    }

    /// Releases the lock of write(2) and truncate(2).
    pub(super) fn unlock(&self) {
        self.is_locked.set(false);
    }

    async fn lock_page(&self, page: u64) {
        until(|| self.locked.borrow_mut().insert(page)).await;
    }

    fn unlock_page(&self, page: u64) {
        self.locked.borrow_mut().remove(&page);
    }

    fn get(&self, page: u64) -> Option<Vec<u8>> {
        self.pages.borrow().get(&page).map(|page| page.data.clone())
    }

    /// A program writes: changes the pages that the kernel has. The others stay locked until the WRITE is answered,
    /// and are returned.
    pub(super) async fn begin_write(&self, offset: u64, data: &[u8]) -> Vec<u64> {
        let mut missing = Vec::new();
        for number in offset / GRID..=(offset + data.len() as u64 - 1) / GRID {
            self.lock_page(number).await;
            let mut pages = self.pages.borrow_mut();
            let Some(page) = pages.get_mut(&number) else {
                missing.push(number);
                continue;
            };
            for (index, byte) in page.data.iter_mut().enumerate() {
                let place = number * GRID + index as u64;
                if let Some(new) = place.checked_sub(offset).and_then(|at| data.get(at as usize)) {
                    *byte = *new;
                }
            }
            self.unlock_page(number);
        }
        missing
    }

    /// The WRITE is answered: unlocks the pages that were missing.
    pub(super) fn end_write(&self, missing: &[u64]) {
        missing.iter().for_each(|page| self.unlock_page(*page));
    }

    /// The number of the oldest READ that brought a page.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.pages.borrow().values().map(|page| page.read).min()
    }

    /// The lowest number at which a page was dirtied.
    pub(super) fn oldest_dirty(&self) -> Option<u64> {
        self.pages.borrow().values().filter_map(|page| page.dirtied).min()
    }

    fn dirty(&self) -> Vec<u64> {
        self.pages.borrow().iter().filter(|(_, page)| page.dirtied.is_some()).map(|(number, _)| *number).collect()
    }

    /// Whether a page is dirty.
    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty().is_empty()
    }

    /// Whether this handle must report a failure; `true` once for each handle.
    pub(super) fn report(&self, handle: u64) -> bool {
        self.errors.borrow_mut().remove(&handle)
    }
}

impl Client {
    /// A program has cut the file: drops the pages that reach beyond this size, with data written to them at the same
    /// time.
    pub(super) async fn cut_pages(&self, file: &ClientFile, size: u64) {
        let busy: Vec<u64> = file.kernel.locked.borrow().iter().copied().collect();
        for page in busy {
            file.kernel.lock_page(page).await;
            file.kernel.unlock_page(page);
        }
        let promises = &self.world.promises;
        file.kernel.pages.borrow_mut().retain(|number, page| {
            let stays = (number + 1) * GRID <= size;
            if !stays && page.dirtied.is_some() {
                promises.borrow_mut().cut(self.index, file.file, number * GRID..(number + 1) * GRID);
            }
            stays
        });
    }

    /// Reads through the kernel's pages; `None` after an error.
    pub(super) async fn read_pages(self: &Rc<Self>, handle: &Handle, offset: u64, length: u64) -> Option<Vec<u8>> {
        let kernel = &handle.file.kernel;
        let mut data = Vec::new();
        for page in offset / GRID..=(offset + length - 1) / GRID {
            let found = match kernel.get(page) {
                Some(found) => found,
                None => self.read_page(handle, page).await?,
            };
            let from = offset.saturating_sub(page * GRID).min(found.len() as u64) as usize;
            let to = (offset + length - page * GRID).min(found.len() as u64) as usize;
            data.extend_from_slice(&found[from..to]);
            if (found.len() as u64) < GRID {
                break;
            }
        }
        Some(data)
    }

    async fn read_page(self: &Rc<Self>, handle: &Handle, page: u64) -> Option<Vec<u8>> {
        let kernel = &handle.file.kernel;
        kernel.lock_page(page).await;
        if let Some(found) = kernel.get(page) {
            kernel.unlock_page(page);
            return Some(found);
        }
        let read = self.world.number();
        let data = self.read(handle, page * GRID, GRID).await;
        if let Ok(data) = &data
            && data.len() as u64 == GRID
        {
            kernel.pages.borrow_mut().insert(page, Page { data: data.clone(), read, dirtied: None });
        }
        kernel.unlock_page(page);
        data.ok()
    }

    /// A program writes to a page that it has mapped.
    pub(super) async fn write_mapped(self: &Rc<Self>, handle: &Handle, offset: u64, value: u8) {
        let (page, file) = (offset / GRID, &handle.file);
        if self.read_pages(handle, page * GRID, GRID).await.is_none_or(|data| (data.len() as u64) < GRID) {
            return;
        }
        file.kernel.lock().await;
        self.dirty_page(handle, offset, value);
        file.kernel.unlock();
    }

    fn dirty_page(&self, handle: &Handle, offset: u64, value: u8) {
        let (page, file, number) = (offset / GRID, &handle.file, self.world.number());
        let mut pages = file.kernel.pages.borrow_mut();
        let Some(found) = pages.get_mut(&page) else { return };
        found.dirtied = found.dirtied.or(Some(number));
        let end = (offset + 100).min((page + 1) * GRID);
        let data = vec![value; (end - offset) as usize];
        found.data[(offset % GRID) as usize..][..data.len()].copy_from_slice(&data);
        self.world.count("mapped writes");
        self.world.promises.borrow_mut().held(self.index, file.file, (offset, &data), u64::MAX);
    }

    /// Sends the dirty pages through a handle that may write, and waits for those that are on their way.
    pub(super) async fn write_back(self: &Rc<Self>, file: &Rc<ClientFile>) {
        let mut pages = file.kernel.dirty();
        pages.extend(file.kernel.locked.borrow().iter());
        for page in pages {
            file.kernel.lock_page(page).await;
            self.send_page(file, page).await;
            file.kernel.unlock_page(page);
        }
    }

    async fn send_page(self: &Rc<Self>, file: &Rc<ClientFile>, page: u64) {
        let data = {
            let mut pages = file.kernel.pages.borrow_mut();
            match pages.get_mut(&page).map(|page| (page.dirtied.take(), page.data.clone())) {
                Some((Some(_), data)) => data,
                _ => return,
            }
        };
        let writer = {
            let handles = self.handles.borrow();
            let fits = |handle: &&Rc<Handle>| Rc::ptr_eq(&handle.file, file) && handle.access.may_map_for_writing();
            handles.iter().find(fits).map(Rc::clone)
        };
        let Some(writer) = writer else {
            return self.world.fail("a page is dirty, but no handle can write it".into());
        };
        let began = self.world.promises.borrow_mut().tick();
        let origin = Origin { held: false, call: Some(self.world.number()), born: Some(began) };
        writer.busy.set(writer.busy.get() + 1);
        let result = self.write(&writer, page * GRID, &data, origin).await;
        writer.busy.set(writer.busy.get() - 1);
        if result.is_err() {
            let handles = self.handles.borrow();
            let handles_to_report =
                handles.iter().filter(|handle| Rc::ptr_eq(&handle.file, file)).map(|handle| handle.number);
            let handles_to_report: Vec<u64> = handles_to_report.collect();
            self.world.promises.borrow_mut().failed(
                self.index,
                file.file,
                (page * GRID, &data),
                Some(&handles_to_report),
            );
            file.kernel.errors.borrow_mut().extend(handles_to_report);
            file.kernel.pages.borrow_mut().remove(&page);
        }
    }

    /// The kernel sends dirty pages, waits for those that are being read, and drops all.
    pub(super) async fn forget_pages(self: &Rc<Self>, file: &Rc<ClientFile>) {
        let last = self.world.number();
        loop {
            self.write_back(file).await;
            let before: Vec<u64> = {
                let pages = file.kernel.pages.borrow();
                pages.iter().filter(|(_, page)| page.read < last).map(|(number, _)| *number).collect()
            };
            let busy: Vec<u64> = file.kernel.locked.borrow().iter().copied().collect();
            for page in before.iter().chain(&busy) {
                file.kernel.lock_page(*page).await;
                self.send_page(file, *page).await;
                file.kernel.pages.borrow_mut().remove(page);
                file.kernel.unlock_page(*page);
            }
            if before.is_empty() {
                return;
            }
        }
    }
}
