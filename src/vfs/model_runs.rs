//! Random runs of a model of clients and a server. A seed gives a setting and its steps. When a run fails, it is
//! shortened: steps are left out as long as the same failure remains.
//!
//! The environment variable `<NAME>_RUNS` sets the number of runs, and `<NAME>_SEED` the first seed
//! ([`Model::NAME`]).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs of an ordinary test.
const RUNS: u64 = 1_000;

/// A generator of pseudo-random numbers: xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random((seed.wrapping_add(1)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }
}

/// The next step of a run. In any state it either has an effect or does nothing, so any step can be left out, and the
/// rest is a run again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<K> {
    pub(crate) kind: K,
    pub(crate) client: usize,
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) c: u64,
}

impl<K: Copy> Step<K> {
    /// A random step of one of these kinds, each as frequent as its weight, among those that `allows` accepts.
    pub(crate) fn random(
        random: &mut Random,
        weights: &[(K, u64)],
        clients: usize,
        allows: impl Fn(K) -> bool,
    ) -> Step<K> {
        let sum: u64 = weights.iter().map(|(_, weight)| weight).sum();
        loop {
            let mut choice = random.below(sum);
            let chosen = weights.iter().find(|(_, weight)| {
                let is_it = choice < *weight;
                choice = choice.saturating_sub(*weight);
                is_it
            });
            let Some((kind, _)) = chosen.filter(|(kind, _)| allows(*kind)) else { continue };
            let client = random.below(clients as u64) as usize;
            let (a, b, c) = (random.below(1 << 20), random.below(1 << 20), random.below(1 << 20));
            return Step { kind: *kind, client, a, b, c };
        }
    }
}

/// Counts of the things that happened, by their names.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// A run under way.
pub(crate) trait Run {
    type Kind: Copy + Debug;

    /// Does one step.
    fn step(&mut self, step: &Step<Self::Kind>);

    /// Brings everything under way to its end.
    fn finish(&mut self);

    /// The first failure; `None` if everything was right so far.
    fn wrong(&self) -> Option<String>;

    /// Counts of the things that happened in this run.
    fn counts(&self) -> Counts;

    /// The events of the run, if it is traced and the model records them.
    fn trace(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A model: the setting of a whole run.
pub(crate) trait Model: Debug {
    /// The prefix of its environment variables.
    const NAME: &'static str;
    /// Steps of a run, without those of [`Run::finish`].
    const STEPS: usize;
    /// Seeds that once found a fault.
    const FOUND: &'static [u64];
    /// Counts that must not be zero after the ordinary runs, which would prove nothing otherwise.
    const EXPECTED: &'static [&'static str];
    type Run: Run;

    /// A random setting.
    fn new(random: &mut Random) -> Self;

    /// A random step of a run in this setting.
    fn step(&self, random: &mut Random) -> Step<<Self::Run as Run>::Kind>;

    /// Starts a run in this setting, traced if asked for.
    fn start(&self, is_traced: bool) -> Self::Run;
}

type StepOf<M> = Step<<<M as Model>::Run as Run>::Kind>;

/// The outcome of a run.
struct Ended {
    /// The failure, and the number of steps done before it.
    wrong: Option<(String, usize)>,
    trace: Vec<String>,
    counts: Counts,
}

fn run<M: Model>(model: &M, steps: &[StepOf<M>], is_traced: bool) -> Ended {
    let mut run = model.start(is_traced);
    let mut done = 0;
    let result = catch_unwind(AssertUnwindSafe(|| {
        for step in steps {
            run.step(step);
            done += 1;
            if run.wrong().is_some() {
                return;
            }
        }
        run.finish();
    }));
    let panic = result.err().map(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(other) => other.downcast::<&str>().map_or_else(|_| "a panic".to_owned(), |message| (*message).to_owned()),
    });
    let wrong = panic.or_else(|| run.wrong()).map(|wrong| (wrong, done));
    Ended { wrong, trace: run.trace(), counts: run.counts() }
}

/// The class of a failure: the first 24 letters of its message, without numbers.
fn kind(wrong: &str) -> String {
    wrong.chars().filter(|letter| letter.is_alphabetic()).take(24).collect()
}

/// Leaves steps out as long as the same failure remains.
fn shorten<M: Model>(model: &M, mut steps: Vec<StepOf<M>>, wrong: &str) -> Vec<StepOf<M>> {
    let mut length = steps.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + length).min(steps.len()));
            if run(model, &fewer, false).wrong.is_some_and(|(other, _)| kind(&other) == kind(wrong)) {
                steps = fewer;
            } else {
                at += length;
            }
        }
        length /= 2;
    }
    steps
}

/// Does the run of a seed. If it fails, returns the number of steps done before the failure, and the report.
fn try_seed<M: Model>(seed: u64, counts: &mut Counts) -> Result<(), (usize, String)> {
    let mut random = Random::new(seed);
    let model = M::new(&mut random);
    let steps: Vec<StepOf<M>> = (0..M::STEPS).map(|_| model.step(&mut random)).collect();
    let ended = run(&model, &steps, false);
    for (what, count) in ended.counts {
        *counts.entry(what).or_default() += count;
    }
    let Some((first, done)) = ended.wrong else { return Ok(()) };
    let steps = shorten(&model, steps[..done].to_vec(), &first);
    let short = run(&model, &steps, true);
    let mut lines = vec![
        format!("seed {seed}, step {done}: {first}"),
        format!("{model:?}"),
        format!("shortened to {} steps:", steps.len()),
    ];
    lines.extend(steps.iter().map(|step| format!("  {step:?}")));
    lines.extend(short.trace.iter().map(|event| format!("  {event}")));
    lines.extend(short.wrong.map(|(wrong, _)| wrong));
    Err((done, lines.join("\n")))
}

/// Does all runs. Returns the counts, or the report of the first failure with the number of steps before it.
fn search<M: Model>() -> Result<Counts, String> {
    let number = |what: &str, default| {
        let value = std::env::var(format!("{}_{what}", M::NAME)).ok();
        value.and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let (first, runs) = (number("SEED", 0), number("RUNS", RUNS));
    let mut counts = Counts::new();
    for (done, seed) in M::FOUND.iter().copied().chain(first..first + runs).enumerate() {
        try_seed::<M>(seed, &mut counts)
            .map_err(|(steps, wrong)| format!("after {} steps: {wrong}", done * M::STEPS + steps))?;
    }
    if runs >= RUNS
        && let Some(never) = M::EXPECTED.iter().find(|what| !counts.contains_key(*what))
    {
        return Err(format!("{never} never happened in any run: {counts:?}"));
    }
    Ok(counts)
}

/// Does all runs of a model.
///
/// # Panics
/// If a run fails, or if something that [`Model::EXPECTED`] lists never happened.
pub(crate) fn every_run_is_right<M: Model>() {
    match search::<M>() {
        Ok(counts) => println!("{counts:?}"),
        Err(wrong) => panic!("{wrong}"),
    }
}
