//! What may happen, one thing after the other. A step means something whatever came before it, or does nothing: so any of
//! them can be left out, and what is left is a run again.

use super::server::Manner;
use crate::config::CacheMode;

/// A generator of numbers: xorshift64*.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random((seed.wrapping_add(1)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
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

/// How often each happens.
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

#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) client: usize,
    pub(super) a: u64,
    pub(super) b: u64,
    pub(super) c: u64,
}

/// How much a client keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) free: usize,
    pub(super) directories: usize,
    pub(super) watches: usize,
}

/// What is so in a whole run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) clients: usize,
    pub(super) manner: Manner,
    pub(super) mode: CacheMode,
    pub(super) most: Most,
    /// So much time passes between two steps, in milliseconds at the most.
    pub(super) pace: u64,
    has_strangers: bool,
}

impl Setting {
    pub(super) fn new(random: &mut Random) -> Setting {
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

    fn allows(&self, kind: Kind) -> bool {
        let is_stranger = matches!(kind, StrangerMakes | StrangerRemoves | StrangerRenames | StrangerReplaces);
        self.has_strangers || !is_stranger
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
            let (a, b, c) = (random.below(1 << 20), random.below(1 << 20), random.below(1 << 20));
            return Step { kind: *kind, client, a, b, c };
        }
    }
}
