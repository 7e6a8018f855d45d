//! The tests: kept plans, fresh seeds, and deliberate mistakes that must be seen.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use parking_lot::Mutex;

use crate::{
    model::Lie,
    plan::Plan,
    run::{self, Tally},
    shrink::shrink,
};

/// Plans that failed once.
const KEPT: &str = include_str!("seeds.txt");
const SEEDS: u64 = 50;
/// How often a failing plan is run to make it shorter.
const TRIES: usize = 400;

/// Files that live in memory, where there is a place for them: a run's file layer decides what is durable, not a disk.
fn base() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Runs a plan twice.
///
/// # Errors
/// What was violated, or that the two traces differ.
fn run_twice(plan: &Plan, lie: Lie) -> Result<Tally, String> {
    let base = base();
    let (first, tally) = run::run(plan, lie, &base).map_err(|(violation, trace)| format!("{violation}\n{trace}"))?;
    let (second, _) = run::run(plan, lie, &base).map_err(|(violation, _)| format!("in the second run: {violation}"))?;
    if first == second {
        return Ok(tally);
    }
    let place =
        first.iter().zip(&second).position(|(one, other)| one != other).unwrap_or(first.len().min(second.len()));
    Err(format!("two runs differ:\n  {:?}\n  {:?}", first.get(place), second.get(place)))
}

/// A failure as it is told: what was violated, and the shortest plan that fails.
fn told(plan: &Plan, lie: Lie, failure: &str) -> String {
    let kept = shrink(&plan.indices(), TRIES, |kept| run_twice(&plan.keeping(kept), lie).is_err());
    let shortest = plan.keeping(&kept);
    let failure = run_twice(&shortest, lie).err().unwrap_or_else(|| failure.to_owned());
    let steps: Vec<String> = shortest.steps.iter().map(|step| format!("  {step}")).collect();
    format!(
        "seed {} fails\n{failure}\nthe shortest plan, for seeds.txt:\n{}\n{}",
        plan.seed,
        shortest.line(),
        steps.join("\n")
    )
}

#[expect(clippy::disallowed_methods, reason = "how many seeds a test runs is set from outside")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`")))
}

#[test]
fn kept_plans_hold() {
    for line in KEPT.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty()) {
        let plan = Plan::parse(line).unwrap_or_else(|| panic!("no plan: `{line}`"));
        if let Err(failure) = run_twice(&plan, Lie::None) {
            panic!("{}", told(&plan, Lie::None, &failure));
        }
    }
}

#[test]
fn fresh_seeds_hold_and_repeat_themselves() {
    let (from, count) = (number("UMI_SIM_FROM", 1), number("UMI_SIM_SEEDS", SEEDS));
    let next = AtomicU64::new(from);
    let whole = Mutex::new((Tally::default(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || whole.lock().1.len() >= 3 {
                        return;
                    }
                    let plan = Plan::of(seed);
                    match run_twice(&plan, Lie::None) {
                        Ok(tally) => whole.lock().0.add(tally),
                        Err(failure) => {
                            let told = told(&plan, Lie::None, &failure);
                            whole.lock().1.push(told);
                        }
                    }
                }
            });
        }
    });
    let (tally, failures) = whole.into_inner();
    report(from, count, &tally);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[expect(clippy::print_stdout, reason = "the long run shows what it did")]
fn report(from: u64, count: u64, tally: &Tally) {
    let Tally { seeds, operations, failures, abandoned, faults, cuts, checks } = tally;
    println!(
        "simulation: seeds {from} to {} ({seeds} sound, each run twice), {operations} operations ({failures} failed, \
         {abandoned} given up), {faults} disk faults, {cuts} power cuts, {checks} checks",
        from + count - 1
    );
}

#[test]
fn a_model_that_lies_is_caught_with_a_short_plan() {
    for lie in [
        Lie::KeepsForgotten,
        Lie::LosesEpisode,
        Lie::IgnoresEventTime,
        Lie::MixesTenants,
        Lie::NeverExpires,
        Lie::DropsJobs,
    ] {
        let caught = (1..400).map(Plan::of).find(|plan| run::run(plan, lie, &base()).is_err());
        let plan = caught.unwrap_or_else(|| panic!("nobody noticed {lie:?}"));
        let fails = |kept: &[usize]| run::run(&plan.keeping(kept), lie, &base()).is_err();
        let shortest = shrink(&plan.indices(), TRIES, fails);
        assert!((1..=6).contains(&shortest.len()), "{lie:?} takes the steps {shortest:?} of seed {}", plan.seed);
    }
}

#[test]
fn a_plan_is_read_back_from_its_line() {
    let plan = Plan::of(17).keeping(&[0, 3, 9]);
    assert_eq!(Plan::parse(&format!("{} # why", plan.line())), Some(plan));
    assert_eq!(Plan::parse("17"), Some(Plan::of(17)));
    assert_eq!(Plan::parse("seventeen"), None);
}
