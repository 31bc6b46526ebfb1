//! The search for an order, depth first.
//!
//! Time goes from moment to moment; only where an operation ends that has no place yet, something must
//! be placed: that operation, or others that are open before it. What makes the search short:
//!
//! 1. A reader is placed as soon as it fits: it changes nothing and has one duty less afterwards.
//! 2. Of operations that do the same the one that ends first goes first; those of unknown outcome go
//!    last. Exchanging them changes nothing.
//! 3. Whatever is open when something overwrites the state may have come just before, and nobody saw
//!    it: from then on it is *hidden* and may end without being placed.
//! 4. An operation that need not be placed goes where the next one needs it; if what comes next has
//!    the same effect without it, it is left out; so is one that the next one overwrites.
//! 5. A configuration is dropped if one was met that [covers](super::seen) it.
//! 6. A state from which a reader still to come is out of reach is dropped, if nothing can overwrite
//!    it before; if something must, all such states are one. (Strings only grow.)

use std::rc::Rc;

use super::check::{Budget, Limit};
use super::model::Model;
use super::problem::{Kind, Moment, Problem, Task};
use super::seen::{Node, Seen, States, UNSEEN};

/// How a search ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Found {
    Order,
    /// There is none. `at` is the last moment that any order reached: an operation's end.
    Stuck {
        at: usize,
    },
    GaveUp(Limit),
}

/// What a search has to tell.
#[derive(Debug)]
pub struct Searched<S> {
    pub found: Found,
    /// States met after the moment asked for, in no special order.
    pub states: Vec<S>,
    /// Configurations met.
    pub count: u64,
}

/// Searches an order for all moments before `end`. States are collected that were met while a
/// moment after `after` waited.
pub fn search<M: Model>(
    problem: &Problem<'_, M>,
    end: usize,
    after: Option<usize>,
    budget: &Budget<'_>,
) -> Searched<M::State> {
    match problem.width {
        0..=64 => Search::<M, 1>::new(problem, end).run(after, budget),
        65..=512 => Search::<M, 8>::new(problem, end).run(after, budget),
        513..=4096 => Search::<M, 64>::new(problem, end).run(after, budget),
        _ => Searched { found: Found::GaveUp(Limit::Concurrency), states: Vec::new(), count: 0 },
    }
}

/// A node and what has been tried from there.
struct Frame<const W: usize> {
    node: Node<W>,
    /// The next candidate: to let a hidden mutator end, then to place open ones, then optional ones.
    next: usize,
    came: Came,
}

/// How a node was reached.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Came {
    /// Time has passed since something was placed, or its effect was seen.
    Settled,
    /// By a mutator whose effect nobody has seen yet, placed while the same moment waited.
    Placed {
        /// The state before.
        before: u32,
        /// It need not have been placed.
        free: bool,
        /// It can take effect in any state.
        always: bool,
        /// It has overwritten others, which may end hidden now.
        hid: bool,
    },
    /// By one whose effect was seen, while the same moment waited.
    Shown,
}

struct Search<'p, M: Model, const W: usize> {
    problem: &'p Problem<'p, M>,
    end: usize,
    states: States<M::State>,
    state_bytes: usize,
    seen: Seen<W>,
    stack: Vec<Frame<W>>,
    /// Per moment: the task that ends first among the readers invoked then or later.
    next_reader: Vec<Option<u32>>,
    deepest: usize,
    count: u64,
}

impl<'p, M: Model, const W: usize> Search<'p, M, W> {
    fn new(problem: &'p Problem<'p, M>, end: usize) -> Search<'p, M, W> {
        Search {
            problem,
            end,
            states: States::new(),
            state_bytes: 0,
            seen: Seen::new(),
            stack: Vec::new(),
            next_reader: next_readers(problem, end),
            deepest: 0,
            count: 0,
        }
    }

    fn run(mut self, after: Option<usize>, budget: &Budget<'_>) -> Searched<M::State> {
        let (found, last) = self.explore(budget);
        let mut numbers = after.map(|after| self.seen.states(after)).unwrap_or_default();
        numbers.extend(last.filter(|state| *state != UNSEEN));
        let states = numbers.into_iter().map(|number| self.states.get(number).clone()).collect();
        Searched { found, states, count: self.count }
    }

    /// How it ended, and the last state of the order found.
    fn explore(&mut self, budget: &Budget<'_>) -> (Found, Option<u32>) {
        let state = self.number(self.problem.model.initial());
        let used = Rc::from([]);
        let none = [0; W];
        let mut root = Node { at: 0, state, readers: none, placed: none, hidden: none, used };
        self.go_on(&mut root);
        if let Some(last) = self.enter(root, Came::Settled) {
            return (Found::Order, Some(last));
        }
        while !self.stack.is_empty() {
            if let Some(limit) = self.exhausted(budget) {
                return (Found::GaveUp(limit), None);
            }
            match self.next_node() {
                None => {
                    self.stack.pop();
                }
                Some((node, came)) => {
                    if let Some(last) = self.enter(node, came) {
                        return (Found::Order, Some(last));
                    }
                }
            }
        }
        (Found::Stuck { at: self.deepest }, None)
    }

    fn exhausted(&self, budget: &Budget<'_>) -> Option<Limit> {
        let frames = self.stack.len() * size_of::<Frame<W>>();
        let bytes = self.seen.bytes + self.state_bytes + frames + self.problem.bytes();
        if self.count >= budget.states_max {
            Some(Limit::States)
        } else if bytes > budget.bytes_max {
            Some(Limit::Bytes)
        } else if (budget.stop)() {
            Some(Limit::Time)
        } else {
            None
        }
    }

    /// Takes a node up unless it is hopeless or covered; its state if it is the goal.
    fn enter(&mut self, mut node: Node<W>, came: Came) -> Option<u32> {
        self.deepest = self.deepest.max(node.at);
        if node.at >= self.end {
            return Some(node.state);
        }
        if self.problem.model.looks_ahead() {
            match self.outlook(&node) {
                Outlook::Hopeless => return None,
                Outlook::Overwritten => node.state = UNSEEN,
                Outlook::Open => {}
            }
        }
        if self.seen.meet(&node) {
            self.count += 1;
            self.stack.push(Frame { node, next: 0, came });
        }
        None
    }

    /// The next node from the top of the stack that is worth entering.
    fn next_node(&mut self) -> Option<(Node<W>, Came)> {
        let problem = self.problem;
        loop {
            let frame = self.stack.last_mut()?;
            let candidate = frame.next;
            frame.next += 1;
            let node = &frame.node;
            let Some(candidate) = candidate.checked_sub(1) else {
                match self.let_end() {
                    None => continue,
                    Some(node) => return Some((node, Came::Settled)),
                }
            };
            let open = problem.open(Kind::Mutator, node.at);
            let next = match open.get(candidate) {
                Some(index) => {
                    let task = &problem.tasks[*index as usize];
                    if is_set(&node.placed, task.slot)
                        || twin_goes_first(problem, node, &open[..candidate], task)
                    {
                        continue;
                    }
                    let waits = problem.moments[node.at] == Moment::Returned(*index as usize);
                    self.place(&task.op, Taken::Task { slot: task.slot, waits })
                }
                None => {
                    let optional = problem.optional.get(candidate - open.len())?;
                    let (class, invoked) = (optional.class, optional.before(node.at));
                    if invoked == 0 {
                        // They come in the order of their first invocations.
                        return None;
                    }
                    if used(node, class) == invoked || twin_is_open(problem, node, open, class) {
                        continue;
                    }
                    self.place(&optional.op, Taken::Optional(class))
                }
            };
            if next.is_some() {
                return next;
            }
        }
    }

    /// The node after the waiting mutator has ended hidden. If something has been placed while it
    /// waits that could as well have been placed afterwards.
    fn let_end(&self) -> Option<Node<W>> {
        let Frame { node, came, .. } = self.stack.last()?;
        let Moment::Returned(index) = self.problem.moments[node.at] else { return None };
        let task = &self.problem.tasks[index];
        if *came != Came::Settled || task.kind == Kind::Reader || !is_set(&node.hidden, task.slot) {
            return None;
        }
        let mut node = node.clone();
        clear(&mut node.hidden, task.slot);
        node.at += 1;
        self.go_on(&mut node);
        Some(node)
    }

    /// The node after a mutator, if that leads anywhere that other ways do not.
    fn place(&mut self, op: &M::Op, taken: Taken) -> Option<(Node<W>, Came)> {
        let model = self.problem.model;
        let Frame { node, came, .. } = self.stack.last()?;
        let (from, always) = (node.state, model.needs(op).is_none());
        let overwrites = always && model.leaves(op).is_some();
        let then = if overwrites {
            model.leaves(op).cloned()
        } else if from != UNSEEN {
            Some(model.apply(self.states.get(from), op)?)
        } else if matches!(taken, Taken::Task { waits: true, .. }) {
            None
        } else {
            // Nobody will see what becomes of it: only what has to end need be placed.
            return None;
        };
        let unneeded = match *came {
            Came::Placed { free, always, .. } if overwrites => free || always,
            Came::Placed { before, free: true, hid: false, .. } if before != UNSEEN => {
                model.apply(self.states.get(before), op) == then
            }
            Came::Placed { .. } | Came::Settled | Came::Shown => false,
        };
        if unneeded {
            return None;
        }
        let mut next = node.clone();
        let mut free = true;
        match taken {
            Taken::Optional(class) => next.used = with(&next.used, class),
            Taken::Task { slot, .. } => {
                free = is_set(&next.hidden, slot);
                clear(&mut next.hidden, slot);
                set(&mut next.placed, slot);
            }
        }
        if overwrites {
            self.hide_open(&mut next);
        }
        let hid = next.hidden.iter().zip(&node.hidden).any(|(now, before)| now & !before != 0);
        next.state = then.map_or(UNSEEN, |then| self.number(then));
        if matches!(taken, Taken::Optional(_)) && next.state == from && !hid {
            return None;
        }
        let at = next.at;
        let shown = self.place_readers(&mut next);
        self.go_on(&mut next);
        let came = match shown {
            _ if next.at != at => Came::Settled,
            true => Came::Shown,
            false => Came::Placed { before: from, free, always, hid },
        };
        Some((next, came))
    }

    /// Something has overwritten the state: what is open may have come just before.
    fn hide_open(&self, node: &mut Node<W>) {
        for index in self.problem.open(Kind::Mutator, node.at) {
            let task = &self.problem.tasks[*index as usize];
            if !is_set(&node.placed, task.slot) && self.problem.model.needs(&task.op).is_none() {
                set(&mut node.hidden, task.slot);
            }
        }
    }

    fn number(&mut self, state: M::State) -> u32 {
        let bytes = self.problem.model.bytes(&state);
        let (number, new) = self.states.number(state);
        if new {
            self.state_bytes += bytes + 5 * size_of::<usize>();
        }
        number
    }

    /// Places all open readers that fit the state; true if there was one.
    fn place_readers(&self, node: &mut Node<W>) -> bool {
        let mut any = false;
        for index in self.problem.open(Kind::Reader, node.at) {
            let task = &self.problem.tasks[*index as usize];
            if !is_set(&node.readers, task.slot) && self.shows(node.state, task) {
                set(&mut node.readers, task.slot);
                any = true;
            }
        }
        any
    }

    /// Lets time pass until an operation ends that has no place.
    fn go_on(&self, node: &mut Node<W>) {
        while node.at < self.end {
            match self.problem.moments[node.at] {
                Moment::Offered => {}
                Moment::Invoked(index) => {
                    let task = &self.problem.tasks[index];
                    if task.kind == Kind::Reader && self.shows(node.state, task) {
                        set(&mut node.readers, task.slot);
                    }
                }
                Moment::Returned(index) => {
                    let task = &self.problem.tasks[index];
                    let bits = match task.kind {
                        Kind::Reader => &mut node.readers,
                        Kind::Mutator => &mut node.placed,
                    };
                    if !is_set(bits, task.slot) {
                        return;
                    }
                    clear(bits, task.slot);
                }
            }
            node.at += 1;
        }
    }

    fn shows(&self, state: u32, reader: &Task<M::Op>) -> bool {
        state != UNSEEN && self.problem.model.shows(self.states.get(state), &reader.op)
    }

    /// What the readers still to be placed say about the state.
    fn outlook(&self, node: &Node<W>) -> Outlook {
        let (problem, model) = (self.problem, self.problem.model);
        let open = problem.open(Kind::Reader, node.at).iter().filter(|index| {
            let task = &problem.tasks[**index as usize];
            task.returned < self.end && !is_set(&node.readers, task.slot)
        });
        let due = open.chain(&self.next_reader[node.at]);
        let mut due = due.map(|index| &problem.tasks[*index as usize]).peekable();
        if due.peek().is_none() {
            return Outlook::Open;
        }
        let within_reach = |reader: &Task<M::Op>| {
            node.state != UNSEEN && model.grows_into(self.states.get(node.state), &reader.op)
        };
        let (mut reached, mut soonest) = (false, usize::MAX);
        for reader in due {
            soonest = soonest.min(reader.returned);
            if within_reach(reader) {
                reached = true;
            } else if !self
                .fresh(node, reader.returned)
                .any(|state| model.grows_into(state, &reader.op))
            {
                return Outlook::Hopeless;
            }
        }
        // The reader that ends first sees something new; nobody else may see the state before.
        let from = problem.readers.partition_point(|r| problem.tasks[*r].invoked < node.at);
        let later = problem.readers[from..].iter().map(|index| &problem.tasks[*index]);
        let mut later = later.take_while(|reader| reader.invoked < soonest);
        if reached || later.any(|reader| reader.returned < self.end && within_reach(reader)) {
            Outlook::Open
        } else {
            Outlook::Overwritten
        }
    }

    /// What may be left behind, independent of the state, by operations not yet placed that are
    /// invoked before a moment.
    fn fresh<'a>(&'a self, node: &'a Node<W>, before: usize) -> impl Iterator<Item = &'a M::State> {
        let problem = self.problem;
        let open = problem.open(Kind::Mutator, node.at).iter().map(|index| *index as usize);
        let open = open.filter(|index| !is_set(&node.placed, problem.tasks[*index].slot));
        let from = problem.fresh.partition_point(|index| problem.tasks[*index].invoked < node.at);
        let later = problem.fresh[from..].iter().copied();
        let later = later.take_while(move |index| problem.tasks[*index].invoked < before);
        let tasks = open.chain(later).map(|index| &problem.tasks[index].op);
        let optional = problem
            .optional
            .iter()
            .filter(move |optional| used(node, optional.class) < optional.before(before));
        tasks.chain(optional.map(|optional| &optional.op)).filter_map(|op| problem.model.leaves(op))
    }
}

/// What the readers still to come say about a node's state.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Outlook {
    /// A reader can never show what it did.
    Hopeless,
    /// Something must overwrite the state before anybody sees it.
    Overwritten,
    Open,
}

/// What a step places.
#[derive(Copy, Clone, Debug)]
enum Taken {
    /// The mutator with this bit, and whether the moment waits for it.
    Task { slot: usize, waits: bool },
    /// One of this class.
    Optional(u32),
}

/// True if an open mutator of the task's class that ends earlier goes first. If that one may end
/// hidden and this one may not, neither is as good as the other.
fn twin_goes_first<M: Model, const W: usize>(
    problem: &Problem<'_, M>,
    node: &Node<W>,
    earlier: &[u32],
    task: &Task<M::Op>,
) -> bool {
    earlier.iter().map(|index| &problem.tasks[*index as usize]).any(|twin| {
        let better = is_set(&node.hidden, task.slot) || !is_set(&node.hidden, twin.slot);
        twin.class == task.class && !is_set(&node.placed, twin.slot) && better
    })
}

fn twin_is_open<M: Model, const W: usize>(
    problem: &Problem<'_, M>,
    node: &Node<W>,
    open: &[u32],
    class: u32,
) -> bool {
    let mut tasks = open.iter().map(|index| &problem.tasks[*index as usize]);
    tasks.any(|task| task.class == class && !is_set(&node.placed, task.slot))
}

/// How often operations of unknown outcome of this class are placed.
fn used<const W: usize>(node: &Node<W>, class: u32) -> usize {
    node.used.iter().filter(|used| **used == class).count()
}

/// Per moment, the reader invoked then or later that ends first, if it ends before `end`.
fn next_readers<M: Model>(problem: &Problem<'_, M>, end: usize) -> Vec<Option<u32>> {
    let mut next = vec![None; problem.moments.len() + 1];
    if !problem.model.looks_ahead() {
        return next;
    }
    let mut first: Option<(usize, u32)> = None;
    for moment in (0..end).rev() {
        if let Moment::Invoked(index) = problem.moments[moment] {
            let task = &problem.tasks[index];
            let sooner = first.is_none_or(|(returned, _)| task.returned < returned);
            if task.kind == Kind::Reader && task.returned < end && sooner {
                first = u32::try_from(index).ok().map(|index| (task.returned, index));
            }
        }
        next[moment] = first.map(|(_, index)| index);
    }
    next
}

fn is_set(bits: &[u64], slot: usize) -> bool {
    bits[slot / 64] >> (slot % 64) & 1 == 1
}

fn set(bits: &mut [u64], slot: usize) {
    bits[slot / 64] |= 1 << (slot % 64);
}

fn clear(bits: &mut [u64], slot: usize) {
    bits[slot / 64] &= !(1 << (slot % 64));
}

/// The ascending list with one entry more.
fn with(used: &[u32], class: u32) -> Rc<[u32]> {
    let at = used.partition_point(|other| *other <= class);
    used[..at].iter().chain(&[class]).chain(&used[at..]).copied().collect()
}
