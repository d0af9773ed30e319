use super::*;
use std::sync::atomic::AtomicBool;
use tokio::sync::Semaphore;

const CHUNK: usize = 1 << 10;

/// Takes what is written, when it is let.
struct Disk {
    data: Mutex<Vec<u8>>,
    writes: Mutex<Vec<(u64, usize)>>,
    /// Writes that may end.
    allowed: Semaphore,
    fails: AtomicBool,
    cleaned: AtomicU64,
}

impl Disk {
    fn with_permits(permits: usize) -> Arc<Disk> {
        Arc::new(Disk {
            data: Mutex::new(vec![0; 1 << 20]),
            writes: Mutex::default(),
            allowed: Semaphore::new(permits),
            fails: AtomicBool::new(false),
            cleaned: AtomicU64::new(0),
        })
    }

    fn open() -> Arc<Disk> {
        Disk::with_permits(1 << 20)
    }

    fn writes(&self) -> Vec<(u64, usize)> {
        self.writes.lock().clone()
    }
}

impl Sink for Disk {
    type Error = &'static str;

    async fn write(&self, offset: u64, data: Bytes, _last: bool) -> Result<(), &'static str> {
        self.writes.lock().push((offset, data.len()));
        self.allowed.acquire().await.map_err(|_| "closed")?.forget();
        if self.fails.load(Ordering::Relaxed) {
            return Err("disk full");
        }
        self.data.lock()[offset as usize..offset as usize + data.len()].copy_from_slice(&data);
        Ok(())
    }

    fn cleaned(&self) {
        self.cleaned.fetch_add(1, Ordering::Relaxed);
    }
}

fn file(budget: u64) -> (Arc<PageCache<&'static str>>, Arc<WriteBack<Disk>>) {
    let cache = Arc::new(PageCache::new(CHUNK as u32, budget));
    (cache.clone(), Arc::new(WriteBack::new(1, CHUNK as u32, cache)))
}

fn always() -> bool {
    true
}

#[tokio::test]
async fn what_is_taken_reaches_the_server_in_whole_chunks() {
    let ((cache, file), disk) = (file(1 << 20), Disk::open());
    for index in 0..10 {
        assert_eq!(file.take(&disk, index * 512, &[index as u8 + 1; 512], always), Taken::Yes);
    }
    file.drain().await;
    assert_eq!(disk.writes(), (0..5).map(|index| (index * 1024, 1024)).collect::<Vec<_>>());
    assert!((0..5120).all(|at| disk.data.lock()[at] as usize == at / 512 + 1));
    assert!(!file.is_dirty() && disk.cleaned.load(Ordering::Relaxed) > 0);
    assert_eq!(cache.used(), 0);
}

#[tokio::test]
async fn what_may_not_be_taken_is_not() {
    let ((cache, file), disk) = (file(1 << 20), Disk::open());
    assert_eq!(file.take(&disk, 0, &[1; 10], || false), Taken::MayNot);
    assert!(!file.is_dirty() && cache.used() == 0);
}

#[tokio::test]
async fn what_is_dirty_is_readable_until_the_server_has_it() {
    let ((_, file), disk) = (file(1 << 20), Disk::with_permits(0));
    file.take(&disk, 0, b"abcd", always);
    assert_eq!(file.covered(&(1..3)).unwrap(), "bc");
    let draining = tokio::spawn({
        let file = file.clone();
        async move { file.drain().await }
    });
    tokio::task::yield_now().await;
    assert_eq!(file.covered(&(1..3)).unwrap(), "bc", "in flight as well");
    disk.allowed.add_permits(1);
    draining.await.unwrap();
    assert!(!file.touches(&(0..4)) && file.covered(&(1..3)).is_none());
}

#[tokio::test]
async fn a_writer_waits_for_room_and_goes_on() {
    // Three quarters of the budget are for writes, and each dirty byte is charged twice: two chunks.
    let ((cache, file), disk) = (file(6 * CHUNK as u64), Disk::with_permits(0));
    let data = [7; CHUNK];
    assert_eq!(file.take(&disk, 0, &data, always), Taken::Yes);
    assert_eq!(file.take(&disk, 1024, &data, always), Taken::Yes);
    assert_eq!(file.take(&disk, 2048, &data, always), Taken::NoRoom);
    let waiting = tokio::spawn({
        let (file, disk) = (file.clone(), disk.clone());
        async move { file.take_when_room(&disk, 2048, &[8; CHUNK], always).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished() && cache.used() <= 6 * CHUNK as u64);
    disk.allowed.add_permits(1);
    assert_eq!(waiting.await.unwrap(), Taken::Yes);
    disk.allowed.add_permits(10);
    file.drain().await;
    assert_eq!(disk.data.lock()[2048], 8);
}

#[tokio::test]
async fn each_who_was_there_hears_of_a_failure() {
    let ((_, file), disk) = (file(1 << 20), Disk::open());
    let (first, second) = (file.seen(), file.seen());
    disk.fails.store(true, Ordering::Relaxed);
    file.take(&disk, 0, &[1; 10], always);
    file.drain().await;
    let told = |seen: &Seen, occasion| file.failure(seen, occasion).is_some();
    assert!(told(&first, Occasion::Write) && !told(&first, Occasion::Write), "a write says it once");
    assert!(told(&first, Occasion::Close) && told(&first, Occasion::Close), "a close each time");
    assert!(told(&first, Occasion::Sync) && !told(&first, Occasion::Sync), "fsync once");
    assert!(!told(&first, Occasion::Close), "and then it is known");
    assert!(told(&second, Occasion::Sync) && !told(&second, Occasion::Write));
    assert!(!told(&file.seen(), Occasion::Close), "who came later has lost nothing");
    assert!(!file.is_dirty());
}

#[tokio::test(start_paused = true)]
async fn small_writes_do_not_linger_for_ever() {
    let ((_, file), disk) = (file(1 << 20), Disk::open());
    file.take(&disk, 0, &[1; 10], always);
    tokio::time::sleep(SENT_AFTER / 2).await;
    assert_eq!(disk.writes(), []);
    tokio::time::sleep(SENT_AFTER).await;
    assert_eq!(disk.writes(), [(0, 10)]);
    file.take(&disk, 10, &[1; 10], always);
    tokio::time::sleep(2 * SENT_AFTER).await;
    assert_eq!(disk.writes(), [(0, 10), (10, 10)]);
}

#[tokio::test]
async fn what_was_read_before_a_write_is_not_used_after_it() {
    struct Old;
    impl super::super::Source for Old {
        type Error = &'static str;
        async fn read(&self, _: u64, length: u32) -> Result<Bytes, &'static str> {
            Ok(Bytes::from(vec![0; length as usize]))
        }
    }
    let ((cache, file), disk) = (file(1 << 20), Disk::open());
    let request = super::super::Request { file: 1, offset: 0, length: 100, size: 100, whole: false };
    cache.read(request, &Old).await.unwrap();
    assert!(cache.get(&request).is_some());
    file.take(&disk, 50, &[1; 10], always);
    assert!(cache.get(&request).is_none());
    cache.read(request, &Old).await.unwrap();
    file.drain().await;
    assert!(cache.get(&request).is_none(), "it may have been read before the server had the write");
}
