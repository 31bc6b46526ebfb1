//! The operations of one key, prepared for the search.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Model;

/// An operation to be put in order.
#[derive(Clone, Debug)]
pub struct Job<Op> {
    pub op: Op,
    /// Index among the calls of the history.
    pub call: usize,
    /// Index of its invocation among the history's events.
    pub invoked: usize,
    /// Index of its completion; None: it may take effect at any time after its invocation, or never.
    pub returned: Option<usize>,
}

/// What an operation is to the search.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Must be placed, changes nothing.
    Reader,
    /// Must be placed.
    Mutator,
}

/// An operation that must be placed between two moments.
#[derive(Clone, Debug)]
pub struct Task<Op> {
    pub op: Op,
    pub kind: Kind,
    /// Mutators that do the same have the same class.
    pub class: u32,
    /// Indexes among the moments.
    pub invoked: usize,
    pub returned: usize,
    /// Its bit while it is open, among those of its kind.
    pub slot: usize,
}

/// The mutators of unknown outcome that do the same.
#[derive(Clone, Debug)]
pub struct Optional<Op> {
    pub op: Op,
    pub class: u32,
    /// Moments of the invocations, ascending.
    pub invoked: Vec<usize>,
}

impl<Op> Optional<Op> {
    /// How many of them were invoked before a moment.
    pub fn before(&self, moment: usize) -> usize {
        self.invoked.partition_point(|invoked| *invoked < moment)
    }
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Moment {
    /// A task begins.
    Invoked(usize),
    /// An optional operation begins; it never ends.
    Offered,
    /// A task ends.
    Returned(usize),
}

/// Tasks, and who is open when.
#[derive(Debug)]
pub struct Problem<'m, M: Model> {
    pub model: &'m M,
    pub jobs: Vec<Job<M::Op>>,
    pub tasks: Vec<Task<M::Op>>,
    /// Ordered by first invocation.
    pub optional: Vec<Optional<M::Op>>,
    pub moments: Vec<Moment>,
    /// The history's event of each moment.
    pub events: Vec<usize>,
    /// Tasks that leave a state of their own behind ([`Model::leaves`]), by invocation.
    pub fresh: Vec<usize>,
    /// Tasks that read, by invocation.
    pub readers: Vec<usize>,
    /// Most open tasks of one kind.
    pub width: usize,
    open_readers: Lists,
    open_mutators: Lists,
}

/// A list of tasks per moment, not empty only where a task ends.
#[derive(Debug, Default)]
struct Lists {
    ends: Vec<usize>,
    all: Vec<u32>,
}

impl Lists {
    fn push(&mut self, list: &[u32]) {
        self.all.extend_from_slice(list);
        self.ends.push(self.all.len());
    }

    fn at(&self, moment: usize) -> &[u32] {
        let from = moment.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[from..self.ends[moment]]
    }
}

/// The lists of open tasks would be longer than this many entries altogether.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TooWide;

impl<'m, M: Model> Problem<'m, M> {
    /// `jobs` in the order of invocation. At most `open_max` entries for all lists of open tasks.
    pub fn new(
        model: &'m M,
        jobs: Vec<Job<M::Op>>,
        open_max: usize,
    ) -> Result<Problem<'m, M>, TooWide> {
        let mut problem = Problem {
            model,
            jobs,
            tasks: Vec::new(),
            optional: Vec::new(),
            moments: Vec::new(),
            events: Vec::new(),
            fresh: Vec::new(),
            readers: Vec::new(),
            width: 0,
            open_readers: Lists::default(),
            open_mutators: Lists::default(),
        };
        problem.lay_out();
        problem.list_open(open_max)?;
        Ok(problem)
    }

    /// Tasks that are open when the moment's task ends, that one included. Mutators come in the
    /// order in which they end.
    pub fn open(&self, kind: Kind, moment: usize) -> &[u32] {
        match kind {
            Kind::Reader => self.open_readers.at(moment),
            Kind::Mutator => self.open_mutators.at(moment),
        }
    }

    /// Memory of the lists, bytes.
    pub fn bytes(&self) -> usize {
        (self.open_readers.all.len() + self.open_mutators.all.len()) * size_of::<u32>()
            + self.moments.len() * (size_of::<Moment>() + size_of::<usize>())
            + self.tasks.len() * size_of::<Task<M::Op>>()
    }

    /// Puts invocations and completions of all jobs that matter in their order.
    fn lay_out(&mut self) {
        let wanted: BTreeSet<&M::State> =
            self.jobs.iter().filter_map(|job| self.model.needs(&job.op)).collect();
        // Where states grow out of each other a state matters without being needed itself.
        let grows = self
            .jobs
            .iter()
            .any(|job| self.model.needs(&job.op).is_none() && self.model.leaves(&job.op).is_none());
        let mut ends: Vec<(usize, bool, usize)> = Vec::new();
        for (index, job) in self.jobs.iter().enumerate() {
            // What nobody can have seen needs no place: leaving it out is as good.
            let unseen =
                !grows && self.model.leaves(&job.op).is_some_and(|state| !wanted.contains(state));
            let idle = self.model.reads_only(&job.op);
            if job.returned.is_none() && (unseen || idle) {
                continue;
            }
            ends.push((job.invoked, false, index));
            ends.extend(job.returned.map(|returned| (returned, true, index)));
        }
        ends.sort_unstable();
        let mut classes: BTreeMap<&M::Op, u32> = BTreeMap::new();
        let mut task_of: BTreeMap<usize, usize> = BTreeMap::new();
        let mut optional_of: BTreeMap<u32, usize> = BTreeMap::new();
        for (event, ending, index) in ends {
            let job = &self.jobs[index];
            let moment = self.moments.len();
            self.events.push(event);
            if ending {
                let task = task_of.remove(&index).expect("an operation ends after it began");
                self.tasks[task].returned = moment;
                self.moments.push(Moment::Returned(task));
                continue;
            }
            let next = u32::try_from(classes.len()).expect("fewer operations than 2^32");
            let class = *classes.entry(&job.op).or_insert(next);
            if job.returned.is_none() {
                let slot = *optional_of.entry(class).or_insert(self.optional.len());
                if slot == self.optional.len() {
                    let op = job.op.clone();
                    self.optional.push(Optional { op, class, invoked: Vec::new() });
                }
                self.optional[slot].invoked.push(moment);
                self.moments.push(Moment::Offered);
                continue;
            }
            let kind = if self.model.reads_only(&job.op) { Kind::Reader } else { Kind::Mutator };
            let task = self.tasks.len();
            task_of.insert(index, task);
            let op = job.op.clone();
            self.tasks.push(Task { op, kind, class, invoked: moment, returned: 0, slot: 0 });
            self.moments.push(Moment::Invoked(task));
            if kind == Kind::Reader {
                self.readers.push(task);
            } else if self.model.leaves(&job.op).is_some() {
                self.fresh.push(task);
            }
        }
    }

    /// Gives open tasks their bits and writes down who is open at each end.
    fn list_open(&mut self, open_max: usize) -> Result<(), TooWide> {
        let mut open: [Vec<u32>; 2] = Default::default();
        let mut free: [Vec<usize>; 2] = Default::default();
        for moment in 0..self.moments.len() {
            match self.moments[moment] {
                Moment::Invoked(index) => {
                    let returned = self.tasks[index].returned;
                    let kind = self.tasks[index].kind;
                    let (open, free) = (&mut open[kind as usize], &mut free[kind as usize]);
                    self.tasks[index].slot = free.pop().unwrap_or(open.len());
                    let at = open.partition_point(|t| self.tasks[*t as usize].returned < returned);
                    open.insert(at, u32::try_from(index).expect("fewer tasks than 2^32"));
                    self.width = self.width.max(open.len());
                }
                Moment::Offered => {}
                Moment::Returned(index) => {
                    self.open_readers.push(&open[Kind::Reader as usize]);
                    self.open_mutators.push(&open[Kind::Mutator as usize]);
                    if self.open_readers.all.len() + self.open_mutators.all.len() > open_max {
                        return Err(TooWide);
                    }
                    let Task { kind, slot, .. } = self.tasks[index];
                    open[kind as usize].retain(|t| *t as usize != index);
                    free[kind as usize].push(slot);
                    continue;
                }
            }
            self.open_readers.push(&[]);
            self.open_mutators.push(&[]);
        }
        Ok(())
    }
}
