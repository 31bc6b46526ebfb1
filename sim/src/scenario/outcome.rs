//! How a scenario ended.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::check::Property;

/// Exit code after Ctrl-C.
pub const INTERRUPTED_CODE: u8 = 130;

/// How a run of a file ended. Prints itself as the command line shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    pub path: PathBuf,
    pub real: bool,
    pub verdict: Verdict,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// Every line did what it says.
    Held(Summary),
    /// A line did not.
    Failed(Box<Failure>),
    /// The file cannot be read or understood. Line 0: the file as a whole.
    BadFile { line: usize, found: String, expected: String },
    /// The file was not played to its end: what is missing here. Line 0: the file as a whole.
    Unavailable { line: usize, why: String },
    /// Somebody pressed Ctrl-C at this line.
    Interrupted { line: usize },
}

#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// Lines carried out, each round of a `repeat` counted.
    pub lines: u64,
    /// Commands whose answer was looked at, the repeated attempts of `within` not counted.
    pub checks: u64,
    /// In the time of the run.
    pub took: Duration,
    /// Digest of the simulated run.
    pub digest: Option<u64>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Failure {
    pub line: usize,
    pub text: String,
    /// The promise that was broken, where it is known.
    pub property: Option<Property>,
    pub expected: String,
    pub got: String,
    /// In the time of the run.
    pub at: Duration,
    /// Host, and its last facts, oldest first.
    pub facts: Vec<(String, Vec<String>)>,
    /// Where logs and data were kept.
    pub kept: Option<PathBuf>,
}

impl Outcome {
    /// 0 all held; 1 a line failed; 2 bad file; 3 something is missing here; 130 as shells say it after Ctrl-C.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Held(_) => 0,
            Verdict::Failed(_) => 1,
            Verdict::BadFile { .. } => 2,
            Verdict::Unavailable { .. } => 3,
            Verdict::Interrupted { .. } => INTERRUPTED_CODE,
        }
    }

    pub fn held(&self) -> bool {
        matches!(self.verdict, Verdict::Held(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |line: usize| match line {
            0 => self.path.display().to_string(),
            line => format!("{}:{line}", self.path.display()),
        };
        let time = if self.real { "real" } else { "simulated" };
        match &self.verdict {
            Verdict::Held(summary) => {
                let Summary { lines, checks, took, digest } = summary;
                let took = took.as_secs_f64();
                let path = self.path.display();
                write!(f, "{path}: held ({lines} lines, {checks} checks, {took:.3} s {time}")?;
                match digest {
                    Some(digest) => write!(f, ", digest {digest:016x})"),
                    None => f.write_str(")"),
                }
            }
            Verdict::Failed(failure) => {
                let Failure { line, text, property, expected, got, at, facts, kept } = &**failure;
                let at = at.as_secs_f64();
                writeln!(f, "{}: failed after {at:.3} s {time}", place(*line))?;
                writeln!(f, "  line:     {text}")?;
                if let Some(property) = property {
                    writeln!(f, "  violated: {}", property.name())?;
                }
                writeln!(f, "  expected: {expected}")?;
                write!(f, "  got:      {}", got.trim_end().replace('\n', "\n            "))?;
                for (host, facts) in facts {
                    write!(f, "\n  last facts of {host}:")?;
                    for fact in facts {
                        write!(f, "\n    {fact}")?;
                    }
                }
                if let Some(kept) = kept {
                    write!(f, "\n  logs and data: {}", kept.display())?;
                }
                Ok(())
            }
            Verdict::BadFile { line, found, expected } => {
                write!(f, "{}: found {found}, expected {expected}", place(*line))
            }
            Verdict::Unavailable { line, why } => write!(f, "{}: {why}", place(*line)),
            Verdict::Interrupted { line } => write!(f, "{}: interrupted", place(*line)),
        }
    }
}
