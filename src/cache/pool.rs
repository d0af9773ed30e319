//! Memory for small pieces of cached data: pages of one mapped region.
//!
//! Small pieces are allocated and freed one by one. In the allocator's memory the holes they leave are too small for
//! chunks and do not return to the system, so the process would grow larger than the cache. Here each piece has a page
//! of its own, and free pages beyond [`WARM`] are returned to the system.
//!
//! Invariants: a pool page belongs to exactly one [`Page`], or is free. The bytes of a [`Page`] are written before it
//! is shared, and never after.

use bytes::Bytes;
use parking_lot::Mutex;
use std::ptr::NonNull;
use std::sync::Arc;

/// Size of a pool page, in bytes. There is no pool on a machine whose pages are larger.
pub(super) const PAGE: usize = 4096;
/// Free pages that are not returned to the system (8 MiB), since they are about to be used again.
const WARM: usize = 2048;
/// Pages returned to the system at a time.
const BATCH: usize = 64;

/// The pool; `None` if the region could not be mapped or has no pages.
#[derive(Debug)]
pub(super) struct PagePool(Option<Arc<Region>>);

#[derive(Debug)]
struct Region {
    base: NonNull<u8>,
    /// Number of pages in the region.
    pages: u32,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    /// Index of the first page that was never used.
    unused: u32,
    /// Free pages that still have their memory.
    warm: Vec<u32>,
    /// Free pages that were returned to the system.
    cold: Vec<u32>,
}

/// The page of one piece, and the length of the piece in bytes.
struct Page {
    region: Arc<Region>,
    index: u32,
    length: usize,
}

// SAFETY: the region is plain memory that belongs to no thread. Its bytes are accessed only through pages, and each
// page is written by `PagePool::copy` alone, before it is shared.
unsafe impl Send for Region {}
// SAFETY: as above; the list of free pages has a lock.
unsafe impl Sync for Region {}

impl PagePool {
    /// A region of up to `bytes` bytes of address space. No page uses memory before it is written.
    pub(super) fn new(bytes: u64) -> PagePool {
        let pages = u32::try_from(bytes / PAGE as u64).unwrap_or(u32::MAX);
        PagePool(Region::new(pages).map(Arc::new))
    }

    /// A copy of the data: in a page if it has at most [`PAGE`] bytes and a page is free, else in an allocation of its
    /// own.
    pub(super) fn copy(&self, data: &[u8]) -> Bytes {
        let taken = self.0.as_ref().filter(|_| data.len() <= PAGE).and_then(|region| Some((region, region.take()?)));
        // No page is free: evicted pieces may still be referenced by replies to the kernel. Or there is no region.
        let Some((region, index)) = taken else { return Bytes::copy_from_slice(data) };
        let page = Page { region: Arc::clone(region), index, length: data.len() };
        // SAFETY: the page lies within the region, has room for the data, and has no other owner: see `Region::take`.
        unsafe { page.start().copy_from_nonoverlapping(NonNull::from(data).cast(), data.len()) };
        Bytes::from_owner(page)
    }
}

impl Region {
    /// `None` if there are no pages to map, if the machine's pages are larger than [`PAGE`], or if the system refuses.
    fn new(pages: u32) -> Option<Region> {
        // SAFETY: sysconf has no preconditions.
        let machine_page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        // Free pages could not be returned to the system one by one.
        if usize::try_from(machine_page).is_ok_and(|size| size > PAGE) {
            return None;
        }
        let length = usize::try_from(u64::from(pages) * PAGE as u64).ok().filter(|length| *length > 0)?;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: a new mapping at an address chosen by the system touches no other memory.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return None;
        }
        // With transparent huge pages a single 4 KiB piece would use 2 MiB. A failure is ignored: such a kernel has no
        // huge pages.
        // SAFETY: the range is the mapping just made; the advice does not change its content.
        unsafe { libc::madvise(base, length, libc::MADV_NOHUGEPAGE) };
        Some(Region { base: NonNull::new(base.cast())?, pages, free: Mutex::default() })
    }

    /// A free page, preferably one that still has its memory.
    fn take(&self) -> Option<u32> {
        let mut free = self.free.lock();
        if let Some(index) = free.warm.pop().or_else(|| free.cold.pop()) {
            return Some(index);
        }
        let index = Some(free.unused).filter(|index| *index < self.pages)?;
        free.unused += 1;
        Some(index)
    }

    /// Marks a page as free. Returns a batch of free pages to the system when there are too many.
    fn put_back(&self, index: u32) {
        let mut surplus: Vec<u32> = {
            let mut free = self.free.lock();
            free.warm.push(index);
            if free.warm.len() < WARM + BATCH {
                return;
            }
            // The pages that have been free for longest.
            free.warm.drain(..BATCH).collect()
        };
        surplus.sort_unstable();
        for run in surplus.chunk_by(|page, next| page + 1 == *next) {
            let start = self.start_of(run[0]).as_ptr().cast();
            // SAFETY: these pages are in no list now and belong to no `Page`, so they are not read; the next `Page`
            // that gets one writes it first.
            unsafe { libc::madvise(start, run.len() * PAGE, libc::MADV_DONTNEED) };
        }
        self.free.lock().cold.extend(surplus);
    }

    fn start_of(&self, index: u32) -> NonNull<u8> {
        // SAFETY: an index is below `pages`, so the result lies within the mapping.
        unsafe { self.base.add(index as usize * PAGE) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: this is the mapping of `Region::new` with its length. Each `Page` holds the region, so none is left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.pages as usize * PAGE) };
    }
}

impl Page {
    fn start(&self) -> NonNull<u8> {
        self.region.start_of(self.index)
    }
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `PagePool::copy` wrote these bytes before it returned the page, and they are not written again while
        // the page lives.
        unsafe { NonNull::slice_from_raw_parts(self.start(), self.length).as_ref() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.region.put_back(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resident(pool: &PagePool) -> usize {
        let region = pool.0.as_ref().unwrap();
        let mut pages = vec![0u8; region.pages as usize];
        // SAFETY: the vector has a byte for each page of the mapping.
        let result = unsafe {
            libc::mincore(region.base.as_ptr().cast(), region.pages as usize * PAGE, pages.as_mut_ptr().cast())
        };
        assert_eq!(result, 0);
        pages.iter().filter(|page| **page & 1 != 0).count()
    }

    #[test]
    fn freed_pages_are_returned_to_the_system() {
        let pages = 3 * WARM;
        let pool = PagePool::new((pages * PAGE) as u64);
        let kept: Vec<Bytes> = (0..pages).map(|number| pool.copy(&[number as u8; PAGE])).collect();
        assert_eq!(resident(&pool), pages);
        // Every second page first, so that no two free pages are adjacent.
        let (odd, even): (Vec<_>, Vec<_>) = kept.into_iter().enumerate().partition(|(number, _)| number % 2 == 1);
        drop(odd);
        assert!(resident(&pool) <= even.len() + WARM + BATCH, "{}", resident(&pool));
        assert!(even.iter().all(|(number, data)| data[..] == [*number as u8; PAGE]));
        drop(even);
        assert!(resident(&pool) <= WARM + BATCH);
        let again: Vec<Bytes> = (0..pages).map(|number| pool.copy(&[number as u8; 100])).collect();
        assert!(again.iter().enumerate().all(|(number, data)| data[..] == [number as u8; 100]));
    }

    #[test]
    fn a_pool_that_is_used_up_or_empty_still_copies() {
        for pages in [0, 1] {
            let pool = PagePool::new(pages * PAGE as u64);
            let copies = [pool.copy(b"one"), pool.copy(b"two"), pool.copy(&[3; PAGE + 1])];
            assert_eq!(copies.map(|copy| copy.len()), [3, 3, PAGE + 1]);
        }
    }

    #[test]
    fn pages_outlive_their_pool() {
        let pool = PagePool::new(PAGE as u64);
        let copy = pool.copy(b"still there");
        drop(pool);
        assert_eq!(copy, b"still there"[..]);
    }

    proptest! {
        /// In any order of allocating and freeing, each copy keeps its content.
        #[test]
        fn no_two_copies_share_a_page(steps in proptest::collection::vec((any::<bool>(), 1usize..=PAGE, any::<u8>()), 1..300)) {
            let pool = PagePool::new(100 * PAGE as u64);
            let mut kept: Vec<(u8, Bytes)> = Vec::new();
            for (take, length, fill) in steps {
                if take || kept.is_empty() {
                    kept.push((fill, pool.copy(&vec![fill; length])));
                } else {
                    kept.swap_remove(length % kept.len());
                }
            }
            prop_assert!(kept.iter().all(|(fill, data)| data.iter().all(|byte| byte == fill)));
        }
    }
}
