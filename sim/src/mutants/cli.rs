//! `quorate-sim mutants`: what it prints, and its exit codes.

use std::io::Write as _;
use std::path::Path;

use quorate::base::mutant::{Area, Mutant};
use serde::Serialize;

use super::kept::{self, Kept};
use super::{Found, Rechecked, recheck, search, search_some, still_found};
use crate::check::Verdict;
use crate::cli::{BAD_USAGE, HELD, VIOLATED};

/// How seeds that were kept are written anew.
pub const REFRESH: &str = "cargo sim mutants --write-seeds sim/mutants.seeds";

/// What is asked.
#[derive(Copy, Clone, Debug)]
pub struct Asked<'a> {
    pub only: Option<Mutant>,
    /// Those of one part of the protocols.
    pub area: Option<Area>,
    /// How many seeds of each profile are looked through.
    pub within: u64,
    /// Look through the seeds that were kept, instead of searching.
    pub quick: bool,
    /// Where seeds that find the faults go.
    pub write_seeds: Option<&'a Path>,
    /// Print JSON instead of a table.
    pub json: bool,
    /// Threads.
    pub jobs: usize,
}

/// A line of the table for programs.
#[derive(Serialize)]
struct Row<'a> {
    mutant: &'static str,
    area: &'static str,
    /// How many seeds of the profile were run until it was found; null if it was not.
    seeds: Option<u64>,
    profile: Option<&'static str>,
    seed: Option<u64>,
    property: Option<&'static str>,
    evidence: Option<&'a str>,
    /// Kept seeds that do not find it any more.
    stale: usize,
}

/// Looks for every fault; the exit code. It is 1 if one is not found, or a kept seed fails without it.
pub fn run(asked: Asked<'_>) -> u8 {
    let all = Mutant::ALL.into_iter().filter(|m| asked.area.is_none_or(|area| area == m.area()));
    let chosen: Vec<Mutant> = asked.only.map_or_else(|| all.collect(), |only| vec![only]);
    if !asked.json {
        println!("{:<28} {:<10} {:>6}  {:<8} property", "mutant", "area", "seeds", "profile");
    }
    if asked.quick {
        return quick(&chosen, asked);
    }
    let mut table = Vec::new();
    let mut keep = Vec::new();
    for mutant in chosen {
        let mut found = match asked.write_seeds {
            Some(_) => search_some(mutant, asked.within, asked.jobs, true),
            None => search(mutant, asked.within, asked.jobs, true).into_iter().collect(),
        };
        let first = found.first().cloned();
        if asked.write_seeds.is_some() && found.is_empty() {
            // Rarer than it should be; seeds further away may be known.
            found = still_found(mutant, &kept::built_in().unwrap_or_default());
        }
        if !asked.json {
            print_line(mutant, first.as_ref());
        }
        keep.push((mutant, found));
        if let Some(file) = asked.write_seeds
            && let Err(error) = write(file, &keep)
        {
            eprintln!("{}: {error}", file.display());
            return BAD_USAGE;
        }
        table.push((mutant, first, 0));
    }
    print_json(asked, &table);
    if table.iter().all(|(_, found, _)| found.is_some()) { HELD } else { VIOLATED }
}

/// Seeds of the faults that were looked for take the place of theirs in the file; all others stay.
fn write(file: &Path, keep: &[(Mutant, Vec<Found>)]) -> std::io::Result<()> {
    let before = if file.exists() { std::fs::read_to_string(file)? } else { String::new() };
    std::fs::write(file, kept::text(&before, keep))
}

fn quick(chosen: &[Mutant], asked: Asked<'_>) -> u8 {
    let kept = match kept::built_in() {
        Ok(kept) => kept,
        Err(error) => {
            eprintln!("{error}");
            return BAD_USAGE;
        }
    };
    let rechecked = recheck(chosen, &kept, asked.jobs);
    let mut table = Vec::new();
    for one in &rechecked {
        if !asked.json {
            print_line(one.mutant, one.found.as_ref());
        }
        table.push((one.mutant, one.found.clone(), one.stale.len()));
    }
    print_json(asked, &table);
    for complaint in rechecked.iter().flat_map(complaints) {
        eprintln!("{complaint}");
    }
    if rechecked.iter().all(Rechecked::is_well) { HELD } else { VIOLATED }
}

/// What is to be said of kept seeds that are not as they were.
pub fn complaints(rechecked: &Rechecked) -> Vec<String> {
    let name = rechecked.mutant.name();
    let mut complaints = Vec::new();
    for (Kept { profile, seed, .. }, verdict) in &rechecked.unsound {
        let how = match verdict {
            Verdict::Violated(v) => format!("{}: {}", v.property.name(), v.evidence),
            Verdict::Undecided { budget } => budget.clone(),
            Verdict::Ok => String::new(),
        };
        let profile = profile.name();
        complaints.push(format!(
            "{profile} {seed}, kept of {name}, fails without it: {how}\n\
             cargo sim replay {seed} --profile {profile}"
        ));
    }
    for Kept { profile, seed, .. } in &rechecked.stale {
        complaints.push(format!("{} {seed} does not find {name} any more", profile.name()));
    }
    if rechecked.found.is_none() {
        complaints.push(format!("no kept seed finds {name}: {REFRESH}"));
    }
    complaints
}

fn print_line(mutant: Mutant, found: Option<&Found>) {
    let (name, area) = (mutant.name(), mutant.area().name());
    match found {
        Some(Found { profile, seed, violation }) => println!(
            "{name:<28} {area:<10} {:>6}  {:<8} {}",
            seed + 1,
            profile.name(),
            violation.property.name()
        ),
        None => println!("{name:<28} {area:<10} {:>6}  {:<8} NOT FOUND", "-", "-"),
    }
}

/// The table as a list of objects, if that was asked for.
fn print_json(asked: Asked<'_>, table: &[(Mutant, Option<Found>, usize)]) {
    if !asked.json {
        return;
    }
    let row = |(mutant, found, stale): &'_ (Mutant, Option<Found>, usize)| {
        let found = found.as_ref();
        let row = Row {
            mutant: mutant.name(),
            area: mutant.area().name(),
            seeds: found.map(|f| f.seed + 1),
            profile: found.map(|f| f.profile.name()),
            seed: found.map(|f| f.seed),
            property: found.map(|f| f.violation.property.name()),
            evidence: found.map(|f| f.violation.evidence.as_str()),
            stale: *stale,
        };
        serde_json::to_value(row).expect("plain data")
    };
    let rows: Vec<serde_json::Value> = table.iter().map(row).collect();
    let text = serde_json::to_string_pretty(&rows).expect("plain data");
    // Whoever reads may have read enough: a closed pipe is no failure.
    let _ = std::io::stdout().lock().write_all((text + "\n").as_bytes());
}
