//! The steps of a run and their weights, and the setting of a run.

use super::run::Run;
use super::server::Manner;
use crate::config::CacheMode;
use crate::vfs::model_runs::{self, Model, Random};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    ServerWorks,
    Answer,
    MessageArrives,
    Pass,
    Stat,
    List,
    Make,
    Remove,
    Rename,
    UseOpen,
    Forget,
    StrangerMakes,
    StrangerRemoves,
    StrangerRenames,
    StrangerReplaces,
}

use Kind::*;

/// How often each kind of step occurs, in relation to the others.
const WEIGHTS: &[(Kind, u64)] = &[
    (ServerWorks, 60),
    (Answer, 60),
    (MessageArrives, 30),
    (Pass, 8),
    (Stat, 50),
    (List, 12),
    (Make, 8),
    (Remove, 5),
    (Rename, 8),
    (UseOpen, 8),
    (Forget, 6),
    (StrangerMakes, 2),
    (StrangerRemoves, 2),
    (StrangerRenames, 2),
    (StrangerReplaces, 3),
];

/// The bounds of a client's namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) free: usize,
    pub(super) directories: usize,
    pub(super) watches: usize,
}

/// See [`model_runs::Step`].
pub(super) type Step = model_runs::Step<Kind>;

/// What stays the same during a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) clients: usize,
    pub(super) manner: Manner,
    pub(super) mode: CacheMode,
    pub(super) most: Most,
    /// The longest time between two steps, in milliseconds.
    pub(super) pace: u64,
    has_strangers: bool,
}

impl Setting {
    fn allows(&self, kind: Kind) -> bool {
        let is_stranger = matches!(kind, StrangerMakes | StrangerRemoves | StrangerRenames | StrangerReplaces);
        self.has_strangers || !is_stranger
    }
}

impl Model for Setting {
    const NAME: &'static str = "CIFS_FUSE_NAMES_MODEL";
    const STEPS: usize = 400;
    const FOUND: &'static [u64] = &[];
    const EXPECTED: &'static [&'static str] = &[
        "a name believed to be there under a watch",
        "a name believed to be absent under a watch",
        "a name believed under a lease",
        "a name believed for the timeout",
        "a listing believed",
        "an open believed",
        "a name that the kernel keeps",
        "a foreign report",
        "an own report",
        "an overflow",
        "a broken lease",
        "a watch refused",
        "an answer overtaken",
        "a rename followed",
        "a file replaced by a stranger",
    ];
    type Run = Run;

    fn new(random: &mut Random) -> Setting {
        let mut bit = |one_in: u64| random.below(one_in) == 0;
        let (watches, leases, ignores_case, is_long) = (!bit(5), bit(4), bit(2), bit(3));
        let (is_narrow, is_small, has_strangers) = (bit(3), bit(3), !bit(3));
        let mode = if bit(12) { CacheMode::Loose } else { CacheMode::Strict };
        let room = if is_narrow { 2 + random.below(3) as usize } else { usize::MAX };
        let most = match is_small {
            true => Most { free: 4, directories: 2, watches: 2 },
            false => Most { free: 1000, directories: 100, watches: 100 },
        };
        let manner = Manner { ignores_case, watches, leases, room, is_long };
        let clients = 1 + random.below(3) as usize;
        let pace = [5, 40, 200][random.below(3) as usize];
        Setting { clients, manner, mode, most, pace, has_strangers }
    }

    fn step(&self, random: &mut Random) -> Step {
        Step::random(random, WEIGHTS, self.clients, |kind| self.allows(kind))
    }

    fn start(&self, is_traced: bool) -> Run {
        Run::new(self, is_traced)
    }
}
