use super::*;
use proptest::prelude::*;

const CHUNK: u64 = 100;

fn dirty() -> Dirty<u32> {
    Dirty::new(CHUNK as u32)
}

fn taken(dirty: &mut Dirty<u32>) -> Option<(u64, usize)> {
    dirty.take(u64::MAX).map(|job| (job.offset, job.data.len()))
}

/// A dirty byte is charged as two bytes.
#[test]
fn the_buffer_of_an_extent_is_at_most_twice_its_length() {
    let mut dirty = Dirty::new(1 << 20);
    let held = |dirty: &Dirty<u32>| dirty.extents.values().map(|extent| extent.data.capacity() as u64).sum::<u64>();
    let mut written = 0;
    for length in [100, 100, 5_000, 20_000, 20_000, 300_000, 100_000, 200_000] {
        dirty.write(written, &vec![7; length], &1);
        written += length as u64;
        assert!(held(&dirty) <= 2 * written, "{} for {written}", held(&dirty));
    }
    // A write over the head of an extent leaves its tail, which must not keep the whole allocation.
    dirty.write(900_000, &[1; 50_000], &1);
    dirty.write(850_000, &[2; 99_000], &1);
    assert!(held(&dirty) <= 2 * dirty.bytes(), "{} for {}", held(&dirty), dirty.bytes());
    dirty.send_all();
    while let Some(job) = dirty.take(u64::MAX) {
        let length = job.data.len();
        dirty.done(job.number);
        assert!(job.data.try_into_mut().unwrap().capacity() <= length + length / 8);
    }
}

#[test]
fn sequential_writes_are_sent_as_whole_chunks() {
    let mut dirty = dirty();
    for offset in (0..250).step_by(50) {
        assert_eq!(dirty.write(offset, &[1; 50], &0), 50);
    }
    assert_eq!((taken(&mut dirty), taken(&mut dirty), taken(&mut dirty)), (Some((0, 100)), Some((100, 100)), None));
    dirty.send_all();
    assert_eq!((taken(&mut dirty), taken(&mut dirty)), (Some((200, 50)), None));
}

#[test]
fn adjacent_writes_are_sent_as_one() {
    let mut dirty = dirty();
    for offset in [60, 20, 80, 0, 40] {
        dirty.write(offset, &[offset as u8; 20], &0);
    }
    let job = dirty.take(u64::MAX).unwrap();
    assert_eq!((job.offset, job.data.len()), (0, 100));
    assert!(job.data.iter().enumerate().all(|(at, byte)| *byte as usize == at / 20 * 20));
}

#[test]
fn a_rewrite_counts_once_and_is_sent_once() {
    let mut dirty = dirty();
    dirty.write(10, &[1; 30], &1);
    assert_eq!(dirty.write(20, &[2; 30], &2), 10);
    assert_eq!(dirty.write(0, &[3; 15], &3), 10);
    assert_eq!(dirty.bytes(), 50);
    dirty.send_all();
    let job = dirty.take(u64::MAX).unwrap();
    assert_eq!((job.offset, job.by), (0, 2));
    assert_eq!(job.data, [[3; 15].as_slice(), &[1; 5], &[2; 30]].concat());
}

#[test]
fn bytes_that_overlap_a_flight_wait_for_its_answer() {
    let mut dirty = dirty();
    dirty.write(0, &[1; 100], &0);
    let first = dirty.take(u64::MAX).unwrap();
    dirty.write(50, &[2; 50], &0);
    dirty.write(300, &[2; 100], &0);
    assert_eq!(taken(&mut dirty), Some((300, 100)), "another chunk need not wait");
    assert_eq!(taken(&mut dirty), None);
    assert_eq!(dirty.done(first.number), 100);
    assert_eq!(taken(&mut dirty), Some((50, 50)));
}

#[test]
fn the_window_bounds_the_bytes_in_flight_but_one_job_is_always_allowed() {
    let mut dirty = dirty();
    dirty.write(0, &[0; 300], &0);
    assert!(dirty.take(10).is_some());
    assert!(dirty.take(150).is_none());
    assert!(dirty.take(200).is_some());
}

#[test]
fn a_mark_is_reached_when_the_bytes_dirty_at_it_are_answered_whatever_came_later() {
    let mut dirty = dirty();
    assert!(dirty.is_sent(0));
    dirty.write(0, &[0; 10], &0);
    let mark = dirty.send_all();
    dirty.write(50, &[0; 10], &0);
    let job = dirty.take(u64::MAX).unwrap();
    assert!(dirty.take(u64::MAX).is_none(), "the later write is neither complete nor due");
    assert!(!dirty.is_sent(mark));
    dirty.done(job.number);
    assert!(dirty.is_sent(mark) && !dirty.is_clean());
}

#[test]
fn dirty_bytes_can_be_read() {
    let mut dirty = dirty();
    dirty.write(10, b"hello", &0);
    assert_eq!(dirty.covered(&(11..14)).unwrap(), "ell");
    assert_eq!((dirty.covered(&(9..14)), dirty.covered(&(14..16)), dirty.covered(&(20..21))), (None, None, None));
    assert!(dirty.touches(&(14..16)) && !dirty.touches(&(15..16)) && !dirty.touches(&(0..10)));
    dirty.send_all();
    dirty.take(u64::MAX).unwrap();
    assert_eq!(dirty.covered(&(11..14)).unwrap(), "ell");
    dirty.write(12, b"L", &0);
    assert_eq!(dirty.covered(&(12..13)).unwrap(), "L", "the newer byte");
    assert_eq!(dirty.covered(&(11..14)), None);
}

#[derive(Clone, Debug)]
enum Operation {
    Write {
        offset: u64,
        length: usize,
    },
    SendAll,
    Take {
        window: u64,
    },
    /// The answer to one of the jobs in flight.
    Done {
        which: usize,
    },
    Read {
        start: u64,
        length: u64,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0u64..600, 1usize..150).prop_map(|(offset, length)| Operation::Write { offset, length }),
        1 => Just(Operation::SendAll),
        3 => (0u64..400).prop_map(|window| Operation::Take { window }),
        3 => any::<usize>().prop_map(|which| Operation::Done { which }),
        2 => (0u64..600, 1u64..100).prop_map(|(start, length)| Operation::Read { start, length }),
    ]
}

proptest! {
    /// In whatever order the server answers, it ends with the bytes written last, and reads in between return the bytes
    /// written.
    #[test]
    fn the_server_ends_with_the_bytes_written_last(operations in proptest::collection::vec(operation(), 1..150)) {
        let mut dirty = dirty();
        let (mut written, mut server) = (vec![0u8; 1000], vec![0u8; 1000]);
        let mut flying: Vec<Job<u32>> = Vec::new();
        for (number, operation) in operations.into_iter().enumerate() {
            match operation {
                Operation::Write { offset, length } => {
                    let fill = number as u8 + 1;
                    written[offset as usize..offset as usize + length].fill(fill);
                    dirty.write(offset, &vec![fill; length], &0);
                }
                Operation::SendAll => { dirty.send_all(); }
                Operation::Take { window } => flying.extend(dirty.take(window)),
                Operation::Done { which } if !flying.is_empty() => {
                    let job = flying.remove(which % flying.len());
                    let at = job.offset as usize;
                    server[at..at + job.data.len()].copy_from_slice(&job.data);
                    prop_assert_eq!(dirty.done(job.number), job.data.len() as u64);
                }
                Operation::Done { .. } => {}
                Operation::Read { start, length } => {
                    let bytes = start as usize..(start + length) as usize;
                    match dirty.covered(&(start..start + length)) {
                        Some(data) => prop_assert_eq!(&data[..], &written[bytes]),
                        None if dirty.touches(&(start..start + length)) => {}
                        None => prop_assert_eq!(&server[bytes.clone()], &written[bytes]),
                    }
                }
            }
            for (index, job) in flying.iter().enumerate() {
                prop_assert!(job.data.len() as u64 <= CHUNK);
                let range = |job: &Job<u32>| job.offset..job.offset + job.data.len() as u64;
                let own = range(job);
                prop_assert!(flying[..index].iter().all(|other| range(other).end <= own.start || own.end <= range(other).start));
            }
            let held: u64 = dirty.extents.values().map(|extent| extent.data.len() as u64).sum();
            prop_assert_eq!(held, dirty.extent_bytes);
            let counted: usize = dirty.generations.values().sum();
            prop_assert_eq!(counted, dirty.extents.len());
        }
        let mark = dirty.send_all();
        while !dirty.is_sent(mark) {
            flying.extend(dirty.take(u64::MAX));
            let job = flying.remove(0);
            server[job.offset as usize..job.offset as usize + job.data.len()].copy_from_slice(&job.data);
            dirty.done(job.number);
        }
        prop_assert!(dirty.is_clean() && dirty.bytes() == 0);
        prop_assert_eq!(server, written);
    }
}
