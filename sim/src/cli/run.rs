//! `quorate-sim run`: a campaign over many seeds, or the records of its parts merged.

use std::io::Write as _;
use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate::base::mutant::Mutant;

use super::args::{Seeds, cores, duration, mutant, profile, seeds};
use super::commit::{commit, seeds_of};
use super::telling::failing;
use super::{BAD_USAGE, HELD, UNDECIDED, VIOLATED, interrupt, plan};
use crate::plan::Profile;
use crate::runner::campaign::{Campaign, Control, Ended, Report, guarded};
use crate::runner::outcome::Outcome;
use crate::runner::record::{Conclusion, Record, RecordError, Subject};
use crate::runner::run::{Options, run_plan};
use crate::runner::shard::Shard;

/// How often the record of a campaign under way is written.
const SAVE_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// smoke, active or durability
    #[arg(long, default_value = "smoke", value_parser = profile)]
    profile: Profile,
    /// A..B, without B; or commit:N, N seeds that follow from the commit's hash
    #[arg(long, default_value = "0..1000", value_parser = seeds)]
    seeds: Seeds,
    /// Threads; as many as there are cores, if not given
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Stop after this long, e.g. 60s or 5m
    #[arg(long, value_parser = duration)]
    time: Option<Duration>,
    /// Run only part i of n of the seeds, i from 0; JOB_COMPLETION_INDEX and JOB_COMPLETION_COUNT
    /// in the environment, if not given
    #[arg(long, value_name = "i/n")]
    shard: Option<Shard>,
    /// Write what has been run to this file, and go on from there the next time
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Run nothing; add up such files, or what --json printed, of the shards of a campaign
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        conflicts_with_all = ["profile", "seeds", "jobs", "time", "shard", "resume", "mutant"]
    )]
    merge: Vec<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Switch a deliberate fault on in every node
    #[arg(long, value_parser = mutant)]
    mutant: Option<Mutant>,
}

pub fn run(args: Args) -> u8 {
    let json = args.json;
    let fresh = matches!(args.seeds, Seeds::OfCommit(_));
    let record = if args.merge.is_empty() { campaign(args) } else { merged(&args.merge) };
    match record {
        Ok(record) => concluded(&record, json, fresh),
        Err(error) => {
            eprintln!("{error}");
            BAD_USAGE
        }
    }
}

fn campaign(args: Args) -> Result<Record, String> {
    let Args { profile, seeds, jobs, time, shard, resume, mutant, .. } = args;
    let commit = commit();
    let seeds = match seeds {
        Seeds::Range(range) => range,
        Seeds::OfCommit(count) => told_seeds(&commit, count)?,
    };
    let lookup = |name: &str| std::env::var(name).ok();
    let shard = match shard {
        Some(shard) => Some(shard),
        None => Shard::of_environment(&lookup)?,
    };
    let subject = Subject { profile, seeds, commit, mutant };
    let mut record = Record { subject, shard, report: Report::default() };
    let part = record.part();
    if let Some(shard) = shard {
        let whole = &record.subject.seeds;
        if part.is_empty() {
            return Err(format!(
                "shard {shard} has none of the seeds {}..{}: there are more shards than seeds",
                whole.start, whole.end
            ));
        }
        eprintln!("shard {shard}: seeds {}..{}", part.start, part.end);
    }
    let interrupted = interrupt::flag()?;
    let run = |seed| run_plan(&plan(profile, seed, mutant), Options::default()).outcome;
    if let Some(file) = &resume {
        begin(file, &mut record, &run).map_err(|error| error.to_string())?;
    }
    let jobs = jobs.map_or_else(cores, NonZeroUsize::get);
    let campaign = Campaign { seeds: part, jobs, time, first_only: false, progress: true };
    let (subject, shard) = (record.subject.clone(), record.shard);
    let save = |report: &Report| {
        let Some(file) = &resume else { return };
        let so_far = Record { subject: subject.clone(), shard, report: report.clone() };
        if let Err(error) = so_far.save(file) {
            eprintln!("{error}");
        }
    };
    let control = Control { interrupted, save: &save, save_every: SAVE_EVERY };
    record.report = campaign.go_on(record.report, &control, &run);
    if let Some(file) = &resume {
        record.save(file).map_err(|error| error.to_string())?;
    }
    Ok(record)
}

fn told_seeds(commit: &str, count: NonZeroU64) -> Result<Range<u64>, String> {
    let seeds = seeds_of(commit, count)?;
    eprintln!("seeds {}..{}, which follow from commit {commit}", seeds.start, seeds.end);
    Ok(seeds)
}

/// Takes in what an earlier run has left in the file, and makes sure that it can be written.
fn begin(
    file: &Path,
    record: &mut Record,
    run: &(dyn Fn(u64) -> Outcome + Sync),
) -> Result<(), RecordError> {
    if file.try_exists().map_err(|error| RecordError::Io { file: file.to_owned(), error })? {
        let earlier = Record::load(file)?;
        earlier.must_be_of(file, &record.subject, record.shard)?;
        earlier.must_be_of_build(file, |seed| guarded(seed, run).digest)?;
        let (done, part) = (earlier.report.done.count(), record.part());
        eprintln!("{}: {done} of {} seeds are done", file.display(), part.end - part.start);
        record.report = earlier.report;
        record.report.ended = Ended::Unfinished;
    }
    record.save(file)
}

fn merged(files: &[PathBuf]) -> Result<Record, String> {
    let load = |file: &PathBuf| Record::load(file).map(|record| (file.clone(), record));
    let parts: Result<Vec<_>, _> = files.iter().map(load).collect();
    let merged = parts.and_then(|parts| Record::merged(&parts)).map_err(|e| e.to_string())?;
    let Subject { profile, seeds, commit, .. } = &merged.subject;
    let (count, profile) = (files.len(), profile.name());
    eprintln!(
        "{count} records of profile {profile}, seeds {}..{}, commit {commit}",
        seeds.start, seeds.end
    );
    Ok(merged)
}

/// Prints what a campaign has shown; its exit code. `fresh`: nobody has run these seeds before.
fn concluded(record: &Record, json: bool, fresh: bool) -> u8 {
    let Record { subject, report, .. } = record;
    let Report { summary, ended, secs, cpu_secs, .. } = report;
    let text = if json {
        record.to_json() + "\n"
    } else {
        summary.text(subject.profile, *secs, *cpu_secs)
    };
    // Whoever reads may have read enough: a closed pipe is no failure.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    let (missing, part) = (record.missing(), record.part());
    let why = match ended {
        Ended::Complete => None,
        Ended::Time => Some("its time was over"),
        Ended::Failures => Some("enough seeds were violated"),
        Ended::Interrupted => Some("it was interrupted"),
        Ended::Unfinished => Some("it did not come to its end"),
    };
    if let Some(why) = why {
        let (left, whole) = (missing.count(), part.end - part.start);
        eprintln!("{left} of {whole} seeds were not run, because {why}: {missing}");
    }
    for complaint in record.dull() {
        eprintln!("dull campaign: {complaint}");
    }
    let ungrouped = summary.ungrouped();
    if ungrouped > 0 {
        eprintln!("{ungrouped} seeds of further kinds are not listed");
    }
    if summary.groups.len() > 1 || summary.groups.first().is_some_and(|g| g.count > 1) {
        summary.groups.iter().rev().for_each(|group| eprintln!("{}", group.line()));
    }
    if let Some(worst) = summary.worst() {
        let Subject { profile, commit, mutant, .. } = subject;
        if fresh {
            eprintln!("these seeds are new with this commit: what fails may be older than it");
        }
        failing(*profile, *mutant, commit, worst.seed, &worst.verdict, &worst.digest);
    }
    match record.conclusion() {
        Conclusion::Held => HELD,
        Conclusion::Violated | Conclusion::Dull => VIOLATED,
        Conclusion::Undecided => UNDECIDED,
    }
}
