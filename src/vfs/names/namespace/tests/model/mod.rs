//! A model of clients, their kernels and a server, which drives [`Namespace`](super::Namespace) in memory, under a virtual
//! clock.
//!
//! | part | what it is |
//! |---|---|
//! | `tree` | the files on the server's disk, and what each name meant at each moment |
//! | `server` | requests, watches, and leases on directories |
//! | `world` | the clock, and what is under way |
//! | `client` | what a client does around its namespace |
//! | `kernel`, `programs` | names that a client's kernel keeps, and what programs call |
//! | `steps`, `run` | what may happen, one thing after the other |
//! | `promises` | what an answer is compared with |
//!
//! A run is a seed. `CIFS_FUSE_NAMES_MODEL_RUNS` has more of them tried, from `CIFS_FUSE_NAMES_MODEL_SEED` on.

mod client;
mod kernel;
mod programs;
mod promises;
mod run;
mod server;
mod steps;
mod tree;
mod world;

use run::Run;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use steps::{Random, Setting, Step};

/// Steps of a run, beside those in which it comes to its end.
const STEPS: usize = 400;
/// Runs of the ordinary test.
const RUNS: u64 = 1_000;
/// Seeds that found something once.
const FOUND: &[u64] = &[];
/// What has to happen in the ordinary runs, or they prove nothing.
const EXPECTED: &[&str] = &[
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

/// Does a run: what is wrong, after how many steps, and what was counted.
fn run(setting: &Setting, steps: &[Step], is_traced: bool) -> (Option<(String, usize)>, BTreeMap<&'static str, u64>) {
    let mut run = Run::new(setting, is_traced);
    let world = std::rc::Rc::clone(&run.world);
    let mut done = 0;
    let result = catch_unwind(AssertUnwindSafe(|| {
        for step in steps {
            run.step(step);
            done += 1;
            if world.wrong.borrow().is_some() {
                return;
            }
        }
        run.finish();
    }));
    let panic = result.err().map(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(other) => other.downcast::<&str>().map_or_else(|_| "a panic".to_owned(), |message| (*message).to_owned()),
    });
    let wrong = panic.or_else(|| world.wrong.try_borrow().ok()?.clone());
    let trace = world.trace.take().map(|trace| trace.join("\n  "));
    let wrong = wrong.map(|wrong| trace.map_or(wrong.clone(), |trace| format!("  {trace}\n{wrong}")));
    let counts = world.counts.try_borrow().map(|counts| counts.clone()).unwrap_or_default();
    (wrong.map(|wrong| (wrong, done)), counts)
}

/// What kind of thing is wrong.
fn kind(wrong: &str) -> String {
    wrong.chars().filter(|letter| letter.is_alphabetic()).take(24).collect()
}

/// Leaves steps out as long as the same is wrong.
fn shorten(setting: &Setting, steps: Vec<Step>, wrong: &str) -> Vec<Step> {
    let mut steps = steps;
    let mut length = steps.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + length).min(steps.len()));
            if run(setting, &fewer, false).0.is_some_and(|(other, _)| kind(&other) == kind(wrong)) {
                steps = fewer;
            } else {
                at += length;
            }
        }
        length /= 2;
    }
    steps
}

/// Does the run of a seed. After how many steps something was wrong, and what.
fn try_seed(seed: u64, counts: &mut BTreeMap<&'static str, u64>) -> Result<(), (usize, String)> {
    let mut random = Random::new(seed);
    let setting = Setting::new(&mut random);
    let steps: Vec<Step> = (0..STEPS).map(|_| setting.step(&mut random)).collect();
    let (wrong, counted) = run(&setting, &steps, false);
    for (what, count) in counted {
        *counts.entry(what).or_default() += count;
    }
    let Some((first, done)) = wrong else { return Ok(()) };
    let steps = shorten(&setting, steps[..done].to_vec(), &first);
    let short = run(&setting, &steps, true).0.map_or_else(String::new, |(wrong, _)| wrong);
    Err((done, format!("seed {seed}, step {done}: {first}\n{setting:?}\nshortened to {} steps:\n{short}", steps.len())))
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Does all runs: what was counted, or what is wrong after how many steps.
fn search() -> Result<BTreeMap<&'static str, u64>, String> {
    let first = number("CIFS_FUSE_NAMES_MODEL_SEED", 0);
    let runs = number("CIFS_FUSE_NAMES_MODEL_RUNS", RUNS);
    let mut counts = BTreeMap::new();
    for (done, seed) in FOUND.iter().copied().chain(first..first + runs).enumerate() {
        try_seed(seed, &mut counts)
            .map_err(|(steps, wrong)| format!("after {} steps: {wrong}", done * STEPS + steps))?;
    }
    if runs >= RUNS
        && let Some(never) = EXPECTED.iter().find(|what| !counts.contains_key(*what))
    {
        return Err(format!("it never came to {never}: {counts:?}"));
    }
    Ok(counts)
}

#[test]
fn a_name_means_what_it_means_at_the_server_whatever_happens_in_whatever_order() {
    match search() {
        Ok(counts) => println!("{counts:?}"),
        Err(wrong) => panic!("{wrong}"),
    }
}
