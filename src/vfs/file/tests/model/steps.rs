//! The steps that a run may have, how often each occurs, and the setting of a run.

use super::run::Run;
use super::server::Manner;
use crate::vfs::model_runs::{self, Model, Random};

/// The longest file, in bytes.
pub(super) const LONGEST: u64 = 10 * 1024;

/// The kinds of steps: what the network, programs, other clients and the server do.
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

/// The weight of each kind: how often it occurs.
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

/// A step of this model.
pub(super) type Step = model_runs::Step<Kind>;

/// What stays the same during a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) clients: usize,
    pub(super) files: usize,
    pub(super) manner: Manner,
    /// Other clients and programs on the server change files.
    has_strangers: bool,
    /// Sessions are lost, the server restarts, disks are full.
    has_faults: bool,
    /// Programs write through mappings.
    maps: bool,
    /// Files get another id, as if they were replaced.
    changes_ids: bool,
}

impl Setting {
    fn allows(&self, kind: Kind) -> bool {
        match kind {
            StrangerOpens | StrangerCloses | StrangerWrites | StrangerTruncates | DiskWrites => self.has_strangers,
            LoseSession | Restart | StopWaiting | DiskIsFull => self.has_faults,
            WriteMapped => self.maps,
            ChangeId => self.changes_ids,
            _ => true,
        }
    }
}

impl Model for Setting {
    const NAME: &'static str = "CIFS_FUSE_MODEL";
    const STEPS: usize = 300;
    const FOUND: &'static [u64] = &[1256];
    const EXPECTED: &'static [&'static str] = &[];
    type Run = Run;

    fn new(random: &mut Random) -> Setting {
        let mut bit = |one_in: u64| random.below(one_in) == 0;
        let manner = Manner { epochs: !bit(3), is_odd: bit(4), close_moves_time: bit(2) };
        let (has_strangers, has_faults, maps, changes_ids) = (bit(2), !bit(3), !bit(3), bit(8));
        let (clients, files) = (1 + random.below(3) as usize, 1 + random.below(2) as usize);
        Setting { clients, files, manner, has_strangers, has_faults, maps, changes_ids }
    }

    fn step(&self, random: &mut Random) -> Step {
        Step::random(random, WEIGHTS, self.clients, |kind| self.allows(kind))
    }

    fn start(&self, _is_traced: bool) -> Run {
        Run::new(self)
    }
}
