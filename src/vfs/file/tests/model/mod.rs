//! A model of clients, their kernels and a server, which drives [`FileState`](super::FileState) and the share's values for
//! leases and lost sessions in memory, under a virtual clock.
//!
//! | part | what it is |
//! |---|---|
//! | `server`, `leases` | disks, opens and leases at the server |
//! | `remote`, `requests` | requests of a client that outlive its session |
//! | `client` | files of a client, and what is done for their actions |
//! | `kernel` | pages that a client's kernel keeps |
//! | `programs`, `calls` | what programs call |
//! | `steps`, `run` | what may happen, one thing after the other |
//! | `promises`, `owed` | what is compared after each step |
//!
//! A run is a seed. `CIFS_FUSE_MODEL_RUNS` has more of them tried, from `CIFS_FUSE_MODEL_SEED` on.

mod calls;
mod client;
mod kernel;
mod leases;
mod owed;
mod programs;
mod promises;
mod remote;
mod requests;
mod run;
mod server;
mod steps;
mod world;

use run::Run;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use steps::{Random, Setting, Step};

/// Steps of a run, beside those in which it comes to its end.
const STEPS: usize = 300;
/// Runs of the ordinary test: 300,000 steps.
const RUNS: u64 = 1_000;

/// Seeds that found something once.
const FOUND: &[u64] = &[1256];

/// Does a run: what is wrong, after how many steps, and what was counted.
fn run(setting: &Setting, steps: &[Step]) -> (Option<(String, usize)>, BTreeMap<&'static str, u64>) {
    let mut run = Run::new(setting);
    let world = std::rc::Rc::clone(&run.world);
    let mut done = 0;
    let result = catch_unwind(AssertUnwindSafe(|| {
        for step in steps {
            run.step(step);
            done += 1;
            if world.promises.borrow().broken.is_some() {
                return;
            }
        }
        run.finish();
    }));
    let panic = result.err().map(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(other) => other.downcast::<&str>().map_or_else(|_| "a panic".to_owned(), |message| (*message).to_owned()),
    });
    let (broken, counts) = match world.promises.try_borrow() {
        Ok(promises) => (promises.broken.clone(), promises.counts.clone()),
        Err(_) => (None, BTreeMap::new()),
    };
    (panic.or(broken).map(|wrong| (wrong, done)), counts)
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
            if run(setting, &fewer).0.is_some_and(|(other, _)| kind(&other) == kind(wrong)) {
                steps = fewer;
            } else {
                at += length;
            }
        }
        length /= 2;
    }
    steps
}

/// Does the run of a seed. Says how many steps it took until something was wrong.
fn try_seed(seed: u64, counts: &mut BTreeMap<&'static str, u64>) -> Result<(), (usize, String)> {
    let mut random = Random::new(seed);
    let setting = Setting::new(&mut random);
    let steps: Vec<Step> = (0..STEPS).map(|_| setting.step(&mut random)).collect();
    let (broken, counted) = run(&setting, &steps);
    for (what, count) in counted {
        *counts.entry(what).or_default() += count;
    }
    let Some((first, done)) = broken else { return Ok(()) };
    let steps = shorten(&setting, steps[..done].to_vec(), &first);
    let short = run(&setting, &steps).0.map_or_else(String::new, |(wrong, _)| wrong);
    let trace: String = steps.iter().map(|step| format!("  {step:?}\n")).collect();
    Err((
        done,
        format!("seed {seed}, step {done}: {first}\n{setting:?}\nshortened to {} steps:\n{trace}{short}", steps.len()),
    ))
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Does all runs: what was counted, or what is wrong after how many steps.
fn search() -> Result<BTreeMap<&'static str, u64>, String> {
    let (first, runs) = (number("CIFS_FUSE_MODEL_SEED", 0), number("CIFS_FUSE_MODEL_RUNS", RUNS));
    let mut counts = BTreeMap::new();
    for (done, seed) in FOUND.iter().copied().chain(first..first + runs).enumerate() {
        try_seed(seed, &mut counts)
            .map_err(|(steps, wrong)| format!("after {} steps: {wrong}", done * STEPS + steps))?;
    }
    Ok(counts)
}

#[test]
fn every_promise_is_kept_whatever_happens_in_whatever_order() {
    match search() {
        Ok(counts) => println!("{counts:?}"),
        Err(wrong) => panic!("{wrong}"),
    }
}
