//! What may happen, one thing after the other. A step means something whatever came before it, or does nothing: so any of
//! them can be left out, and what is left is a run again.

use super::server::Manner;

/// Files do not grow beyond this, in bytes.
pub(super) const LONGEST: u64 = 10 * 1024;
/// A generator of numbers: xorshift64*.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random((seed.wrapping_add(1)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    ServerWorks,
    Answer,
    BreakArrives,
    BreakIsRead,
    BreakIsHandedOn,
    Pass,
    Open,
    Close,
    Read,
    Write,
    WriteMapped,
    WriteBack,
    Sync,
    Truncate,
    Touch,
    Stat,
    ExpireKept,
    Forget,
    StrangerOpens,
    StrangerCloses,
    StrangerWrites,
    StrangerTruncates,
    DiskWrites,
    ServerBreaks,
    DiskIsFull,
    DiskFlushesPage,
    LoseSession,
    Notice,
    Connect,
    StopWaiting,
    Restart,
    ChangeId,
}

use Kind::*;

/// How often each happens.
const WEIGHTS: &[(Kind, u64)] = &[
    (ServerWorks, 60),
    (Answer, 60),
    (BreakArrives, 12),
    (BreakIsRead, 12),
    (BreakIsHandedOn, 12),
    (Pass, 6),
    (Open, 14),
    (Close, 9),
    (Read, 14),
    (Write, 22),
    (WriteMapped, 6),
    (WriteBack, 2),
    (Sync, 6),
    (Truncate, 2),
    (Touch, 3),
    (Stat, 3),
    (ExpireKept, 2),
    (Forget, 3),
    (StrangerOpens, 2),
    (StrangerCloses, 2),
    (StrangerWrites, 2),
    (StrangerTruncates, 1),
    (DiskWrites, 1),
    (ServerBreaks, 2),
    (DiskIsFull, 1),
    (DiskFlushesPage, 2),
    (LoseSession, 2),
    (Notice, 3),
    (Connect, 5),
    (StopWaiting, 1),
    (Restart, 1),
    (ChangeId, 1),
];

#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) client: usize,
    pub(super) a: u64,
    pub(super) b: u64,
    pub(super) c: u64,
}

/// What is so in a whole run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) clients: usize,
    pub(super) files: usize,
    pub(super) manner: Manner,
    has_strangers: bool,
    has_faults: bool,
    maps: bool,
    changes_ids: bool,
}

impl Setting {
    pub(super) fn new(random: &mut Random) -> Setting {
        let mut bit = |one_in: u64| random.below(one_in) == 0;
        let manner = Manner { epochs: !bit(3), is_odd: bit(4), close_moves_time: bit(2) };
        let (has_strangers, has_faults, maps, changes_ids) = (bit(2), !bit(3), !bit(3), bit(8));
        let (clients, files) = (1 + random.below(3) as usize, 1 + random.below(2) as usize);
        Setting { clients, files, manner, has_strangers, has_faults, maps, changes_ids }
    }

    fn allows(&self, kind: Kind) -> bool {
        match kind {
            StrangerOpens | StrangerCloses | StrangerWrites | StrangerTruncates | DiskWrites => self.has_strangers,
            LoseSession | Restart | StopWaiting | DiskIsFull => self.has_faults,
            WriteMapped => self.maps,
            ChangeId => self.changes_ids,
            _ => true,
        }
    }

    pub(super) fn step(&self, random: &mut Random) -> Step {
        let sum: u64 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        loop {
            let mut choice = random.below(sum);
            let chosen = WEIGHTS.iter().find(|(_, weight)| {
                let is_it = choice < *weight;
                choice = choice.saturating_sub(*weight);
                is_it
            });
            let Some((kind, _)) = chosen.filter(|(kind, _)| self.allows(*kind)) else { continue };
            let client = random.below(self.clients as u64) as usize;
            return Step {
                kind: *kind,
                client,
                a: random.below(1 << 20),
                b: random.below(1 << 20),
                c: random.below(1 << 20),
            };
        }
    }
}
