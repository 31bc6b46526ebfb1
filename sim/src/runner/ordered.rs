//! Runs in which it is decided what happens next, instead of drawn from latencies: time stands still
//! while anything is on its way, and every order in which it can arrive is possible.
//!
//! 1. A plan runs as usual until its first command or fault.
//! 2. From then on each step is a choice ([`Kind::Order`]) among: a client's next command reaches its
//!    server; what another server sent next does (all that it sent there in one step, on whatever
//!    connections: a link keeps its order); a fault of the plan begins, or ends; and time passes to the
//!    next moment at which a timer makes somebody send to another server.
//! 3. Kernels and timers need no time: acknowledgements, the set-up of connections, replies to clients
//!    and timers that are due come at once.
//! 4. When nothing is left to happen within the [`Bounds`], the plan's load has ended: what follows, up to
//!    the verdict, is as in any other run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use quorate::base::time::Span;
use serde::{Deserialize, Serialize};

use super::player::{Player, Token, name_of};
use super::run::{converge, early};
use crate::check::Verdict;
use crate::decide::{Decisions, Kind};
use crate::ids::{ClientConn, HostId};
use crate::plan::Plan;
use crate::time::Time;
use crate::trace::Recorder;
use crate::world::{Awaited, Delivery, Sender, Waiting, WorldConfig};

/// A round in which nobody sends anything for so long is over.
const ROUND_MAX: Span = Span::from_secs(10);

/// What keeps the number of orders finite.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bounds {
    /// How often time may pass.
    pub rounds: u32,
    /// How often it may pass although something is on its way between servers.
    pub delays: u32,
}

/// What may happen next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// All of it, in this order.
    Arrives(Delivery, Vec<Waiting>),
    /// A fault of the plan, by its number.
    Begins(usize, Waiting),
    Ends(usize, Waiting),
    TimePasses,
}

/// A run whose order is decided.
pub struct Ordered<'p> {
    pub player: Player<'p>,
    left: Bounds,
    /// Faults of the plan that have begun.
    begun: Vec<bool>,
    /// How many events there had been at the beginning of each step.
    made: Vec<u64>,
}

/// From whom, to whom; of a client over which connection.
type Way = (HostId, HostId, Sender);

impl<'p> Ordered<'p> {
    /// Plays the plan up to where choices begin.
    pub fn new(
        plan: &'p Plan,
        bounds: Bounds,
        decisions: Decisions,
        traced: bool,
        tape: Option<&Recorder>,
    ) -> Ordered<'p> {
        let config = WorldConfig {
            late_flush_one_in: 0,
            late_read_one_in: 0,
            odd_timer_one_in: 0,
            timer_gap: Span(0),
            ..WorldConfig::default()
        };
        let mut player = Player::with(plan, traced, tape, decisions, config);
        let start = start_of(plan);
        player.run(Time(start.0.saturating_sub(1)));
        player.world.pass_to(start);
        let begun = vec![false; plan.faults.len()];
        Ordered { player, left: bounds, begun, made: Vec::new() }
    }

    /// Goes on to the end, or to `until`, with choices from the run's source.
    pub fn run(&mut self, until: Option<Time>) -> Verdict {
        let until = until.unwrap_or(Time::NEVER);
        loop {
            let choices = self.choices();
            self.player.keep_pace();
            if let Some(verdict) = early(&mut self.player, until) {
                return verdict;
            }
            if choices.is_empty() {
                return self.finish(until);
            }
            self.choose(&choices);
        }
    }

    /// Lets one of the choices happen, the one that the run's source says.
    pub fn choose(&mut self, choices: &[Step]) {
        let chosen = self.player.world.decisions().decide(Kind::Order, choices.len() as u64);
        self.take(choices, chosen as usize);
    }

    /// What may happen next, the dullest first; nothing if all is over or something is broken.
    pub fn choices(&mut self) -> Vec<Step> {
        self.settle();
        if self.broken().is_some() {
            return Vec::new();
        }
        let mut arriving: Vec<(Way, usize, Step)> = Vec::new();
        let (mut planned, mut under_way) = (Vec::new(), 0);
        for waiting in self.player.world.waiting() {
            match waiting.what.clone() {
                Awaited::Stream(delivery) => {
                    under_way += u32::from(delivery.sender == Sender::Server);
                    let (way, step) = (way_of(&delivery), self.step_of(&waiting));
                    match arriving.iter_mut().find(|(other, _, _)| *other == way) {
                        None => {
                            arriving.push((way, step, Step::Arrives(delivery, vec![waiting])));
                        }
                        Some((_, first, Step::Arrives(_, all))) if *first == step => {
                            all.push(waiting);
                        }
                        Some(_) => {}
                    }
                }
                Awaited::Alarm { token } => match Token::decode(token) {
                    Token::Begin(fault) => planned.push(Step::Begins(fault, waiting)),
                    Token::End(fault) if self.begun[fault] => {
                        planned.push(Step::Ends(fault, waiting));
                    }
                    Token::End(_) | Token::Client(_) => {}
                },
                Awaited::Wake { .. } | Awaited::Segment | Awaited::Chore | Awaited::Nothing => {}
            }
        }
        let may_pass = self.left.rounds > 0 && (under_way == 0 || self.left.delays > 0);
        let passes = may_pass.then_some(Step::TimePasses);
        let arriving = arriving.into_iter().map(|(_, _, step)| step);
        arriving.chain(planned).chain(passes).collect()
    }

    fn take(&mut self, choices: &[Step], chosen: usize) {
        let step = &choices[chosen];
        self.made.push(self.player.world.events_made());
        self.say(step, chosen, choices.len());
        let filtered = self.player.world.stats().segments_filtered;
        match step {
            Step::Arrives(_, all) => {
                for waiting in all {
                    self.happen(waiting);
                    self.settle();
                }
            }
            Step::Ends(_, waiting) => self.happen(waiting),
            Step::Begins(fault, waiting) => {
                self.begun[*fault] = true;
                self.happen(waiting);
            }
            Step::TimePasses => self.pass_time(),
        }
        if matches!(step, Step::Arrives(..))
            && self.player.world.stats().segments_filtered > filtered
        {
            self.note(|| "a firewall drops it".to_owned());
        }
    }

    /// Whether something that must not happen has happened already.
    pub fn broken(&mut self) -> Option<Verdict> {
        early(&mut self.player, Time::NEVER)
    }

    /// The order is at its end: the load ends, the core converges, everything is checked.
    pub fn finish(&mut self, until: Time) -> Verdict {
        self.player.world.config_mut().timer_gap = WorldConfig::default().timer_gap;
        converge(&mut self.player, until)
    }

    /// Writes all that bears on what happens next and on the verdict.
    pub fn write_state(&self, out: &mut String) {
        let player = &self.player;
        player.world.write_state(out);
        player.clients.iter().for_each(|client| client.write_state(out));
        player.history.write_state(out);
        player.book.ledger.write_state(out);
        let rest = (&player.conns, &player.opened, &player.following, self.left, &self.begun);
        let _ = write!(out, "\n{rest:?}");
        // What belongs together of what is on its way.
        let mut ways: BTreeMap<Way, Vec<(usize, u32)>> = BTreeMap::new();
        for waiting in player.world.waiting() {
            if let Awaited::Stream(delivery) = &waiting.what {
                let step = self.step_of(&waiting);
                let parts = ways.entry(way_of(delivery)).or_default();
                match parts.last_mut().filter(|(last, _)| *last == step) {
                    Some((_, count)) => *count += 1,
                    None => parts.push((step, 1)),
                }
            }
        }
        for (way, parts) in ways {
            let counts: Vec<u32> = parts.iter().map(|(_, count)| *count).collect();
            let _ = write!(out, "\n{way:?} {counts:?}");
        }
    }

    pub fn steps(&self) -> u64 {
        self.made.len() as u64
    }

    /// The step in which it was sent.
    fn step_of(&self, waiting: &Waiting) -> usize {
        self.made.partition_point(|&made| made < waiting.number())
    }

    fn happen(&mut self, waiting: &Waiting) {
        let now = self.player.world.now();
        self.player.world.happen(waiting, now);
        self.notices();
    }

    /// Time goes on until somebody has sent something to another server. Timers are served as they come.
    fn pass_time(&mut self) {
        self.left.rounds -= 1;
        let before = self.between_servers();
        self.left.delays -= u32::from(before > 0);
        let end = self.player.world.now() + ROUND_MAX;
        loop {
            let next = self.player.world.next_waiting(|at, what| {
                at <= end
                    && match what {
                        Awaited::Wake { .. } | Awaited::Chore | Awaited::Nothing => true,
                        Awaited::Alarm { token } => {
                            matches!(Token::decode(*token), Token::Client(_))
                        }
                        Awaited::Stream(_) | Awaited::Segment => false,
                    }
            });
            let Some(next) = next else { break };
            self.player.world.happen(&next, next.at);
            self.notices();
            self.settle();
            if self.between_servers() > before || self.broken().is_some() {
                break;
            }
        }
        let now = self.player.world.now();
        self.note(|| format!("it is {now}"));
    }

    /// Pieces of streams on their way between servers.
    fn between_servers(&self) -> usize {
        self.player.world.count_waiting(|what| match what {
            Awaited::Stream(delivery) => delivery.sender == Sender::Server,
            Awaited::Segment
            | Awaited::Wake { .. }
            | Awaited::Chore
            | Awaited::Nothing
            | Awaited::Alarm { .. } => false,
        })
    }

    /// What needs no time happens.
    fn settle(&mut self) {
        self.notices();
        while self.player.broken.is_none() {
            let now = self.player.world.now();
            let next = self.player.world.next_waiting(|at, what| self.is_at_once(at, what, now));
            let Some(next) = next else { return };
            self.happen(&next);
        }
    }

    fn is_at_once(&self, at: Time, what: &Awaited, now: Time) -> bool {
        match what {
            Awaited::Segment => true,
            Awaited::Stream(delivery) => match delivery.sender {
                Sender::Server => false,
                Sender::Client(conn) => !self.is_command(conn),
                Sender::Gone => true,
            },
            Awaited::Wake { .. } | Awaited::Chore | Awaited::Nothing => at <= now,
            Awaited::Alarm { token } => match Token::decode(*token) {
                Token::Client(_) => at <= now,
                Token::Begin(_) | Token::End(_) => false,
            },
        }
    }

    /// Whether what is on its way over a client's connection is a command, not a greeting.
    fn is_command(&self, conn: ClientConn) -> bool {
        let opened = self.player.opened.get(conn.0 as usize);
        let client = opened.and_then(|(client, _, _)| self.player.clients.get(*client));
        client.is_some_and(|client| client.is_waiting())
    }

    fn notices(&mut self) {
        let player = &mut self.player;
        while player.broken.is_none()
            && let Some(notice) = player.world.notice(&mut player.book)
        {
            player.on_notice(notice);
        }
    }

    fn say(&mut self, step: &Step, chosen: usize, among: usize) {
        if self.player.book.trace.is_some() {
            let text = self.text(step);
            let nth = self.steps();
            self.note(|| format!("{nth}. {text} ({} of {among})", chosen + 1));
        }
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        let now = self.player.world.now();
        self.player.book.say(now, || "order".to_owned(), what);
    }

    /// A step in words.
    pub fn text(&self, step: &Step) -> String {
        let player = &self.player;
        match step {
            Step::Arrives(delivery, all) => {
                let from = match delivery.sender {
                    Sender::Server => name_of(delivery.stream.from.0),
                    Sender::Client(conn) => match player.opened.get(conn.0 as usize) {
                        Some((client, _, _)) => format!("client{client}"),
                        None => "a client".to_owned(),
                    },
                    Sender::Gone => "a client".to_owned(),
                };
                let said = |waiting: &Waiting| {
                    let words = player.world.words(waiting);
                    words.unwrap_or_else(|| format!("{} bytes", delivery.bytes))
                };
                let said: Vec<String> = all.iter().map(said).collect();
                format!("{} gets from {from}: {}", name_of(delivery.stream.to.0), said.join(" | "))
            }
            Step::Begins(fault, _) => format!("begins: {}", player.plan.faults[*fault].kind),
            Step::Ends(fault, _) => format!("ends: {}", player.plan.faults[*fault].kind),
            Step::TimePasses => "time passes".to_owned(),
        }
    }
}

fn way_of(delivery: &Delivery) -> Way {
    (delivery.stream.from, delivery.stream.to, delivery.sender)
}

/// When the first client or fault begins.
fn start_of(plan: &Plan) -> Time {
    let faults = plan.faults.iter().map(|fault| fault.at_ms);
    let clients = plan.clients.iter().filter_map(|c| c.steps.first()).map(|s| 1 + s.wait_ms);
    Time::from_ms(faults.chain(clients).min().unwrap_or(plan.load_ms))
}
