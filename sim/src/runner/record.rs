//! The record of a campaign: the file in which an interrupted one goes on, that several machines' parts
//! are merged from, and that `run --json` prints. All three are one format.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use quorate::base::mutant::Mutant;
use serde::{Deserialize, Serialize};

use super::campaign::{Ended, Report};
use super::group::Group;
use super::labels::KNOWN;
use super::outcome::Counts;
use super::seed_set::{self, SeedSet};
use super::shard::Shard;
use super::summary::{Summary, digest_text};
use crate::plan::Profile;

/// What a record begins with.
const FORMAT: &str = "quorate-sim campaign 1";

/// What is run: records of the same can be merged and gone on with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    pub profile: Profile,
    /// All seeds, whatever the shard.
    pub seeds: Range<u64>,
    pub commit: String,
    pub mutant: Option<Mutant>,
}

/// What of it was run where, and what it has shown.
#[derive(Clone, Debug)]
pub struct Record {
    pub subject: Subject,
    pub shard: Option<Shard>,
    pub report: Report,
}

/// What a campaign as a whole says.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// Every seed that was run held, and none is missing against anybody's wish.
    Held,
    /// A seed was violated.
    Violated,
    /// No seed was violated, but their mix proves too little.
    Dull,
    /// A seed was undecided, or seeds are missing that should have been run.
    Undecided,
}

/// Why a record cannot be used. Nothing has been run or written then.
#[derive(Debug)]
pub enum RecordError {
    /// The file cannot be read or written.
    Io { file: PathBuf, error: io::Error },
    /// The file is no record.
    Malformed { file: PathBuf, what: String },
    /// It is the record of something else.
    Foreign { file: PathBuf, what: &'static str, expected: String, found: String },
    /// Two records are of the same seeds.
    Overlap { file: PathBuf, earlier: PathBuf, seed: u64 },
    /// This build runs a seed in another way than the record says.
    OtherBuild { file: PathBuf, seed: u64, expected: String, found: String },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Io { file, error } => write!(f, "{}: {error}", file.display()),
            RecordError::Malformed { file, what } => {
                write!(f, "{}: expected the record of a campaign: {what}", file.display())
            }
            RecordError::Foreign { file, what, expected, found } => write!(
                f,
                "{}: the record of another campaign: expected {what} {expected}, found {found}",
                file.display()
            ),
            RecordError::Overlap { file, earlier, seed } => {
                let (file, earlier) = (file.display(), earlier.display());
                write!(f, "{file}: seed {seed} is in {earlier} already")
            }
            RecordError::OtherBuild { file, seed, expected, found } => write!(
                f,
                "{}: the record of another build: seed {seed} had digest {expected}, this build \
                 gives it {found}",
                file.display()
            ),
        }
    }
}

/// The text of a record. What follows from other fields is for whoever reads; loading ignores it.
#[derive(Serialize, Deserialize)]
struct Written {
    format: String,
    profile: Profile,
    seeds: String,
    shard: Option<Shard>,
    commit: String,
    mutant: Option<String>,
    #[serde(skip_deserializing)]
    verdict: Option<Conclusion>,
    ended: Ended,
    done: SeedSet,
    seeds_run: u64,
    #[serde(skip_deserializing)]
    held: u64,
    violated: u64,
    undecided: u64,
    run_twice: u64,
    seconds: f64,
    cpu_seconds: f64,
    #[serde(skip_deserializing)]
    seeds_per_second: f64,
    #[serde(skip_deserializing)]
    seeds_per_cpu_second: f64,
    #[serde(skip_deserializing)]
    deliveries_per_second: f64,
    probe: Option<Probe>,
    sums: Counts,
    rare_paths: BTreeMap<String, u64>,
    #[serde(skip_deserializing)]
    dull: Vec<String>,
    failures: Vec<Group>,
    #[serde(skip_deserializing)]
    failures_in_no_group: u64,
}

#[derive(Serialize, Deserialize)]
struct Probe {
    seed: u64,
    digest: String,
}

impl Record {
    /// The seeds that were to be run here.
    pub fn part(&self) -> Range<u64> {
        let seeds = &self.subject.seeds;
        self.shard.map_or(seeds.clone(), |shard| shard.part_of(seeds))
    }

    /// Those of them that were not.
    pub fn missing(&self) -> SeedSet {
        self.report.done.missing_from(self.part())
    }

    /// Why the mix of seeds proves too little. A campaign with a deliberate fault need not prove a thing.
    pub fn dull(&self) -> Vec<String> {
        if self.subject.mutant.is_some() {
            Vec::new()
        } else {
            self.report.summary.dull(self.subject.profile)
        }
    }

    pub fn conclusion(&self) -> Conclusion {
        let Summary { seeds, failures, undecided, .. } = self.report.summary;
        let cut_short = match self.report.ended {
            Ended::Complete | Ended::Time | Ended::Failures => false,
            Ended::Interrupted | Ended::Unfinished => true,
        };
        if failures > 0 {
            Conclusion::Violated
        } else if !self.dull().is_empty() {
            Conclusion::Dull
        } else if undecided > 0 || cut_short || seeds == 0 {
            Conclusion::Undecided
        } else {
            Conclusion::Held
        }
    }

    pub fn to_json(&self) -> String {
        let Record { subject, shard, report } = self;
        let Report { summary, secs, cpu_secs, .. } = report;
        let per = |n: u64, secs: f64| (n as f64 / secs.max(1e-9)).round();
        let written = Written {
            format: FORMAT.to_owned(),
            profile: subject.profile,
            seeds: format!("{}..{}", subject.seeds.start, subject.seeds.end),
            shard: *shard,
            commit: subject.commit.clone(),
            mutant: subject.mutant.map(|m| m.name().to_owned()),
            verdict: Some(self.conclusion()),
            ended: report.ended,
            done: report.done.clone(),
            seeds_run: summary.seeds,
            held: summary.seeds - summary.failures - summary.undecided,
            violated: summary.failures,
            undecided: summary.undecided,
            run_twice: summary.rerun,
            seconds: to_ms(*secs),
            cpu_seconds: to_ms(*cpu_secs),
            seeds_per_second: per(summary.seeds, *secs),
            seeds_per_cpu_second: per(summary.seeds, *cpu_secs),
            deliveries_per_second: per(summary.counts.deliveries, *secs),
            probe: report.probe.map(|(seed, digest)| Probe { seed, digest: digest_text(digest) }),
            sums: summary.counts,
            rare_paths: summary.rare_paths().map(|(label, n)| (label.to_owned(), n)).collect(),
            dull: self.dull(),
            failures: summary.groups.clone(),
            failures_in_no_group: summary.ungrouped(),
        };
        serde_json::to_string_pretty(&written).expect("a record has only keys that are strings")
    }

    fn parse(text: &str) -> Result<Record, String> {
        let written: Written = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if written.format != FORMAT {
            return Err(format!("expected format {FORMAT:?}, found {:?}", written.format));
        }
        let mutant = match written.mutant {
            None => None,
            Some(name) => {
                Some(Mutant::from_name(&name).ok_or_else(|| format!("no such mutant: {name:?}"))?)
            }
        };
        let mut rare_paths = written.rare_paths;
        let reached = KNOWN.iter().map(|&l| rare_paths.remove(l).unwrap_or_default()).collect();
        if let Some(stranger) = rare_paths.into_keys().next() {
            return Err(format!("this build knows no rare path {stranger:?}"));
        }
        let digest = |p: Probe| match u64::from_str_radix(&p.digest, 16) {
            Ok(digest) => Ok((p.seed, digest)),
            Err(_) => Err(format!("{:?} is no digest", p.digest)),
        };
        let summary = Summary {
            seeds: written.seeds_run,
            failures: written.violated,
            undecided: written.undecided,
            rerun: written.run_twice,
            counts: written.sums,
            reached,
            groups: written.failures,
        };
        let report = Report {
            summary,
            probe: written.probe.map(digest).transpose()?,
            done: written.done,
            ended: written.ended,
            secs: written.seconds,
            cpu_secs: written.cpu_seconds,
        };
        let seeds = seed_set::range(&written.seeds)?;
        let subject = Subject { profile: written.profile, seeds, commit: written.commit, mutant };
        let record = Record { subject, shard: written.shard, report };
        record.is_sound()?;
        Ok(record)
    }

    /// What is counted twice must agree.
    fn is_sound(&self) -> Result<(), String> {
        let Report { summary, done, .. } = &self.report;
        let grouped: u64 = summary.groups.iter().map(|g| g.count).sum();
        let part = SeedSet::from(self.part());
        let outside = done.count() - (part.count() - self.missing().count());
        if done.count() != summary.seeds {
            Err(format!("{} seeds are done but {} counted", done.count(), summary.seeds))
        } else if outside > 0 {
            Err(format!("{outside} of the seeds that are done do not belong to it"))
        } else if summary.failures + summary.undecided > summary.seeds
            || grouped > summary.failures + summary.undecided
        {
            Err("more seeds have failed than were run".to_owned())
        } else {
            Ok(())
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The file cannot be read or is none.
    pub fn load(file: &Path) -> Result<Record, RecordError> {
        let owned = || file.to_owned();
        let text = std::fs::read_to_string(file)
            .map_err(|error| RecordError::Io { file: owned(), error })?;
        Record::parse(&text).map_err(|what| RecordError::Malformed { file: owned(), what })
    }

    /// Writes the record in place of what the file was: it is there whole, as it was or as it is.
    ///
    /// # Errors
    /// The file cannot be written; it is as it was.
    pub fn save(&self, file: &Path) -> Result<(), RecordError> {
        let mut part = file.to_owned().into_os_string();
        part.push(".part");
        let write = || {
            let mut out = std::fs::File::create(&part)?;
            out.write_all(self.to_json().as_bytes())?;
            out.write_all(b"\n")?;
            out.sync_all()?;
            std::fs::rename(&part, file)
        };
        write().map_err(|error| RecordError::Io { file: file.to_owned(), error })
    }

    /// Whether the record is one of this subject and shard.
    ///
    /// # Errors
    /// Says what is different.
    pub fn must_be_of(
        &self,
        file: &Path,
        subject: &Subject,
        shard: Option<Shard>,
    ) -> Result<(), RecordError> {
        let shown = |shard: Option<Shard>| shard.map_or("none".to_owned(), |s| s.to_string());
        self.same_subject(file, subject)?;
        differs(file, "shard", shown(shard), shown(self.shard))
    }

    fn same_subject(&self, file: &Path, wanted: &Subject) -> Result<(), RecordError> {
        let name = |m: Option<Mutant>| m.map_or("none", Mutant::name).to_owned();
        let range = |r: &Range<u64>| format!("{}..{}", r.start, r.end);
        let (own, profile) = (&self.subject, |p: Profile| p.name().to_owned());
        differs(file, "profile", profile(wanted.profile), profile(own.profile))?;
        differs(file, "seeds", range(&wanted.seeds), range(&own.seeds))?;
        differs(file, "commit", wanted.commit.clone(), own.commit.clone())?;
        differs(file, "mutant", name(wanted.mutant), name(own.mutant))
    }

    /// Whether this build runs a seed as the record says; `digest` runs it.
    ///
    /// # Errors
    /// It does not.
    pub fn must_be_of_build(
        &self,
        file: &Path,
        digest: impl FnOnce(u64) -> u64,
    ) -> Result<(), RecordError> {
        let Some((seed, expected)) = self.report.probe else { return Ok(()) };
        let found = digest(seed);
        if found == expected {
            return Ok(());
        }
        let (expected, found) = (digest_text(expected), digest_text(found));
        Err(RecordError::OtherBuild { file: file.to_owned(), seed, expected, found })
    }

    /// One record of the whole from those of its parts.
    ///
    /// # Errors
    /// They are not of one campaign, or two are of the same seeds.
    ///
    /// # Panics
    /// If there is no record at all.
    pub fn merged(parts: &[(PathBuf, Record)]) -> Result<Record, RecordError> {
        let subject = parts[0].1.subject.clone();
        let mut whole = Record { subject, shard: None, report: Report::default() };
        let mut assigned = SeedSet::default();
        let mut ended = Ended::Complete;
        for (number, (file, part)) in parts.iter().enumerate() {
            part.same_subject(file, &whole.subject)?;
            for (earlier, other) in &parts[..number] {
                if let Some(seed) = other.report.done.shared_with(&part.report.done) {
                    let (file, earlier) = (file.clone(), earlier.clone());
                    return Err(RecordError::Overlap { file, earlier, seed });
                }
            }
            whole.report.summary.merge(part.report.summary.clone());
            whole.report.done.insert_all(&part.report.done);
            whole.report.probe =
                [whole.report.probe, part.report.probe].into_iter().flatten().min();
            whole.report.secs += part.report.secs;
            whole.report.cpu_secs += part.report.cpu_secs;
            assigned.insert(part.part());
            ended = ended.max(part.report.ended);
        }
        let seeds = whole.subject.seeds.clone();
        whole.report.ended = if whole.missing().is_empty() {
            Ended::Complete
        } else if assigned.missing_from(seeds).is_empty() {
            ended
        } else {
            Ended::Unfinished
        };
        Ok(whole)
    }
}

fn to_ms(secs: f64) -> f64 {
    (secs * 1000.0).round() / 1000.0
}

fn differs(
    file: &Path,
    what: &'static str,
    expected: String,
    found: String,
) -> Result<(), RecordError> {
    if expected == found {
        return Ok(());
    }
    Err(RecordError::Foreign { file: file.to_owned(), what, expected, found })
}

#[cfg(test)]
mod tests;
