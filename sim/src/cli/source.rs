//! Which run a command is about: that of a seed, of a plan in a file, or one that was recorded.

use std::path::PathBuf;

use quorate::base::mutant::Mutant;

use super::args::{mutant, profile};
use super::plan;
use crate::look::command_of;
use crate::plan::{Plan, Profile};
use crate::runner::ordered::Bounds;
use crate::runner::recording::{Recording, read_plan};
use crate::runner::task::Task;

#[derive(Debug, clap::Args)]
pub struct Source {
    #[arg(required_unless_present_any = ["plan", "decisions"])]
    seed: Option<u64>,
    #[arg(long, default_value = "smoke", value_parser = profile)]
    profile: Profile,
    /// The plan in this file (written by --save, --json or --record) instead of a seed's
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "profile"])]
    plan: Option<PathBuf>,
    /// The plan and the choices in this file (written by --record, or by explore)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "profile", "plan"])]
    decisions: Option<PathBuf>,
    /// Switch a deliberate fault on in every node
    #[arg(long, value_parser = mutant)]
    mutant: Option<Mutant>,
    /// Switch the deliberate fault of the file off
    #[arg(long, conflicts_with_all = ["seed", "mutant"])]
    no_mutant: bool,
}

/// A run to be, and the command that shows it.
pub struct Found {
    recording: Recording,
    /// The choices are the recording's, not drawn from the plan's seed.
    recorded: bool,
    pub command: String,
}

impl Source {
    /// # Errors
    /// A file cannot be read, or holds something else.
    pub fn find(&self) -> Result<Found, String> {
        let Source { seed, profile, plan: planned, decisions, .. } = self;
        let (mut recording, from) = match (seed, planned, decisions) {
            (_, _, Some(file)) => {
                (Recording::read(file)?, format!("--decisions {}", file.display()))
            }
            (_, Some(file), None) => {
                (Recording::new(&read_plan(file)?, None, &[]), format!("--plan {}", file.display()))
            }
            (seed, None, None) => {
                let plan = plan(*profile, seed.unwrap_or_default(), self.mutant);
                let command = command_of(&plan);
                let recording = Recording::new(&plan, None, &[]);
                return Ok(Found { recording, recorded: false, command });
            }
        };
        let mut with = String::new();
        if let Some(mutant) = self.mutant {
            recording.plan.mutant = Some(mutant.name().to_owned());
            with = format!(" --mutant {}", mutant.name());
        } else if self.no_mutant {
            recording.plan.mutant = None;
            with = " --no-mutant".to_owned();
        }
        let command = format!("cargo sim replay {from}{with}");
        Ok(Found { recording, recorded: self.decisions.is_some(), command })
    }
}

impl Found {
    pub fn plan(&self) -> &Plan {
        &self.recording.plan
    }

    /// The bounds of its order, if that is decided.
    pub fn order(&self) -> Option<Bounds> {
        self.recording.order
    }

    pub fn task(&self) -> Task<'_> {
        if self.recorded { Task::recorded(&self.recording) } else { Task::of(self.plan()) }
    }
}
