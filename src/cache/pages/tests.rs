use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

const CHUNK: u32 = 1 << 20;
const FILE: FileKey = 1;

/// A file of `size` bytes, each computed from its offset, with a log of the reads.
#[derive(Default)]
struct Disk {
    size: u64,
    reads: Mutex<Vec<(u64, u32)>>,
    fails: AtomicBool,
    /// Reads wait, each for one notification of `go`.
    held: AtomicBool,
    go: Notify,
}

impl Disk {
    fn new(size: u64) -> Disk {
        Disk { size, ..Disk::default() }
    }

    fn held(size: u64) -> Disk {
        Disk { held: AtomicBool::new(true), ..Disk::new(size) }
    }

    fn reads(&self) -> Vec<(u64, u32)> {
        std::mem::take(&mut *self.reads.lock())
    }
}

fn byte(at: u64) -> u8 {
    (at % 251) as u8 ^ (at >> 16) as u8
}

impl Source for Disk {
    type Error = &'static str;

    async fn read(&self, offset: u64, length: u32) -> Result<Bytes, &'static str> {
        self.reads.lock().push((offset, length));
        if self.held.load(Ordering::Relaxed) {
            self.go.notified().await;
        }
        if self.fails.swap(false, Ordering::Relaxed) {
            return Err("broken");
        }
        Ok((offset..(offset + u64::from(length)).min(self.size).max(offset)).map(byte).collect())
    }
}

fn cache() -> PageCache<&'static str> {
    PageCache::new(CHUNK, 64 << 20, Arc::default())
}

fn request(offset: u64, length: u64, size: u64) -> Request {
    Request { file: FILE, offset, length, size, whole: false }
}

fn expected(range: Range<u64>) -> Vec<u8> {
    range.map(byte).collect()
}

#[tokio::test]
async fn a_random_read_fetches_its_pages_and_no_more() {
    let (cache, disk) = (cache(), Disk::new(10 << 20));
    let read = cache.read(request(5_000_001, 100, disk.size), &disk).await.unwrap();
    assert_eq!(read, expected(5_000_001..5_000_101));
    assert_eq!(disk.reads(), [(4_997_120, 4096)]);
}

#[tokio::test]
async fn a_stream_fetches_whole_chunks() {
    let (cache, disk) = (cache(), Disk::new(10 << 20));
    let whole = Request { whole: true, ..request(1 << 20, 4096, disk.size) };
    cache.read(whole, &disk).await.unwrap();
    assert_eq!(disk.reads(), [(1 << 20, CHUNK)]);
}

#[tokio::test]
async fn a_stream_fetches_only_the_missing_parts_of_a_chunk() {
    let (cache, disk) = (cache(), Disk::new(10 << 20));
    cache.read(request(0, 131_072, disk.size), &disk).await.unwrap();
    cache.read(request(524_288, 4096, disk.size), &disk).await.unwrap();
    disk.reads();
    let whole = Request { whole: true, ..request(131_072, 917_504, disk.size) };
    assert_eq!(cache.read(whole, &disk).await.unwrap(), expected(131_072..1 << 20));
    assert_eq!(disk.reads(), [(131_072, 393_216), (528_384, 520_192)]);
}

#[tokio::test]
async fn without_room_for_chunks_only_the_requested_pages_are_read() {
    for budget in [0, u64::from(CHUNK) * 2] {
        let (cache, disk) = (PageCache::new(CHUNK, budget, Arc::default()), Disk::new(10 << 20));
        let whole = Request { whole: true, ..request(1 << 20, 4096, disk.size) };
        cache.read(whole, &disk).await.unwrap();
        cache.fetch_ahead(FILE, 2, disk.size, &disk).await;
        assert_eq!(disk.reads(), [(1 << 20, 4096)]);
    }
}

#[tokio::test]
async fn a_small_file_is_read_as_a_whole() {
    let (cache, disk) = (cache(), Disk::new(50_000));
    cache.read(request(0, 100, disk.size), &disk).await.unwrap();
    assert_eq!(disk.reads(), [(0, 50_000)]);
    assert_eq!(cache.get(&request(40_000, 20_000, disk.size)).unwrap(), expected(40_000..50_000));
}

#[tokio::test]
async fn a_read_within_one_segment_is_answered_without_a_copy() {
    let (cache, disk) = (cache(), Disk::new(100_000));
    let all = cache.read(request(0, 100_000, disk.size), &disk).await.unwrap();
    let part = cache.get(&request(1000, 10, disk.size)).unwrap();
    assert_eq!(part.as_ptr(), all[1000..].as_ptr());
}

#[tokio::test]
async fn a_read_across_chunks_is_put_together() {
    let (cache, disk) = (cache(), Disk::new(10 << 20));
    let (start, end) = ((1 << 20) - 5000, (3 << 20) + 5000);
    let read = cache.read(request(start, end - start, disk.size), &disk).await.unwrap();
    assert!(read == expected(start..end));
    assert_eq!(disk.reads().len(), 4);
}

#[tokio::test]
async fn two_readers_of_one_chunk_cause_one_read() {
    let (cache, disk) = (cache(), Disk::held(10 << 20));
    let whole = |offset| Request { whole: true, ..request(offset, 4096, 10 << 20) };
    let (one, other) = (cache.read(whole(0), &disk), cache.read(whole(500_000), &disk));
    let (one, other, ()) = tokio::join!(one, other, async { disk.go.notify_one() });
    assert_eq!(one.unwrap(), expected(0..4096));
    assert_eq!(other.unwrap(), expected(500_000..504_096));
    assert_eq!(disk.reads(), [(0, CHUNK)]);
}

#[tokio::test]
async fn random_readers_of_one_chunk_do_not_wait_for_each_other() {
    let (cache, disk) = (cache(), Disk::held(10 << 20));
    let (one, other) =
        (cache.read(request(0, 100, disk.size), &disk), cache.read(request(500_000, 100, disk.size), &disk));
    let both_under_way = async {
        while disk.reads.lock().len() < 2 {
            tokio::task::yield_now().await;
        }
        disk.go.notify_one();
        disk.go.notify_one();
    };
    let (one, other, ()) = tokio::join!(one, other, both_under_way);
    assert!(one.is_ok() && other.is_ok());
}

#[tokio::test]
async fn an_error_reaches_all_waiting_readers_and_is_not_kept() {
    let (cache, disk) = (cache(), Disk::held(50_000));
    disk.fails.store(true, Ordering::Relaxed);
    let all = request(0, 50_000, disk.size);
    let (one, other, ()) = tokio::join!(cache.read(all, &disk), cache.read(all, &disk), async { disk.go.notify_one() });
    assert_eq!((one, other), (Err("broken"), Err("broken")));
    assert_eq!(disk.reads().len(), 1);
    disk.held.store(false, Ordering::Relaxed);
    assert_eq!(cache.read(all, &disk).await.unwrap(), expected(0..50_000));
}

#[tokio::test]
async fn a_reader_that_is_dropped_leaves_no_other_reader_waiting() {
    let (cache, disk) = (cache(), Disk::held(50_000));
    let all = request(0, 50_000, disk.size);
    let mut leader = Box::pin(cache.read(all, &disk));
    assert!(futures_util::poll!(leader.as_mut()).is_pending());
    let mut follower = Box::pin(cache.read(all, &disk));
    assert!(futures_util::poll!(follower.as_mut()).is_pending());
    assert_eq!(disk.reads().len(), 1);
    drop(leader);
    disk.held.store(false, Ordering::Relaxed);
    assert_eq!(follower.await.unwrap(), expected(0..50_000));
    assert!(cache.state.lock().flights.is_empty());
}

#[tokio::test]
async fn data_in_flight_when_its_range_was_invalidated_is_not_cached() {
    let (cache, disk) = (cache(), Disk::held(50_000));
    let all = request(0, 50_000, disk.size);
    let mut reader = Box::pin(cache.read(all, &disk));
    assert!(futures_util::poll!(reader.as_mut()).is_pending());
    cache.invalidate(FILE, 10..11);
    disk.go.notify_one();
    assert!(reader.await.is_ok());
    assert_eq!(cache.get(&all), None);
}

#[tokio::test]
async fn a_short_read_is_the_end_of_the_file_and_nothing_is_cached_beyond_it() {
    let (cache, disk) = (cache(), Disk::new(30_000));
    // The size known before was larger.
    let read = cache.read(request(0, 50_000, 50_000), &disk).await.unwrap();
    assert_eq!(read, expected(0..30_000));
    assert_eq!(cache.get(&request(0, 30_001, 50_000)), None);
    assert!(cache.get(&request(0, 30_000, 50_000)).is_some());
}

#[tokio::test]
async fn a_short_read_in_one_chunk_ends_a_read_of_several() {
    let (cache, disk) = (cache(), Disk::new((1 << 20) - 1000));
    let read = cache.read(request(0, 3 << 20, 3 << 20), &disk).await.unwrap();
    assert_eq!(read.len() as u64, disk.size);
}

#[tokio::test]
async fn bytes_beyond_the_requested_range_are_not_cached() {
    struct Generous;
    impl Source for Generous {
        type Error = &'static str;
        async fn read(&self, _: u64, length: u32) -> Result<Bytes, &'static str> {
            Ok(Bytes::from(vec![1; length as usize + 1000]))
        }
    }
    let cache = cache();
    assert_eq!(cache.read(request(0, 10, 100), &Generous).await.unwrap(), [1; 10].as_slice());
    assert_eq!(cache.get(&request(0, 101, 200)), None);
}

#[tokio::test]
async fn a_chunk_that_was_read_ahead_is_cached() {
    let (cache, disk) = (cache(), Disk::new(3 << 20));
    cache.fetch_ahead(FILE, 1, disk.size, &disk).await;
    cache.fetch_ahead(FILE, 1, disk.size, &disk).await;
    cache.fetch_ahead(FILE, 3, disk.size, &disk).await;
    assert_eq!(disk.reads(), [(1 << 20, CHUNK)]);
    assert!(cache.get(&request(1 << 20, 1 << 20, disk.size)).is_some());
}

#[tokio::test]
async fn when_a_read_ahead_fails_a_waiting_reader_starts_its_own_read() {
    let (cache, disk) = (cache(), Disk::held(3 << 20));
    disk.fails.store(true, Ordering::Relaxed);
    let ahead = cache.fetch_ahead(FILE, 1, disk.size, &disk);
    let reader = cache.read(request(1 << 20, 100, disk.size), &disk);
    let go = async {
        disk.go.notify_one();
        tokio::task::yield_now().await;
        disk.go.notify_one();
    };
    let (_, read, ()) = tokio::join!(ahead, reader, go);
    assert_eq!(read.unwrap(), expected(1 << 20..(1 << 20) + 100));
}

#[tokio::test]
async fn an_empty_range_causes_no_read() {
    let (cache, disk) = (cache(), Disk::new(100));
    for (offset, length) in [(0, 0), (100, 10), (u64::MAX, 10)] {
        assert_eq!(cache.read(request(offset, length, disk.size), &disk).await.unwrap(), Bytes::new());
        assert_eq!(cache.get(&request(offset, length, disk.size)), Some(Bytes::new()));
    }
    assert!(disk.reads().is_empty());
}

#[tokio::test]
async fn dirty_bytes_are_counted_while_they_are_dirty() {
    let counters = Arc::<Counters>::default();
    let cache: PageCache<String> = PageCache::new(CHUNK, 64 << 20, Arc::clone(&counters));
    assert!(cache.reserve_dirty(1000) && cache.reserve_dirty(24));
    assert_eq!(counters.dirty_bytes.get(), 1024);
    cache.release_dirty(1000);
    assert_eq!(counters.dirty_bytes.get(), 24);
    cache.release_dirty(24);
    assert_eq!(counters.dirty_bytes.get(), 0);
}
