//! Faults that wait for a moment: a node begins to serve, a candidate has its promises, an entry has reached one copy and
//! not the other. Plans that are made around them have busy clients on few keys.

use serde::{Deserialize, Serialize};

use super::generate::Draw;
use super::strong::{BEGIN_MS, RosterChange, StrongClient, StrongOp, StrongPlan, StrongStep};
use super::{FaultClass, FaultKind, LogPlan, Plan, Remedy};

/// How many of 100 plans of strong clusters are made around ambushes.
const PERCENT: u64 = 60;

/// Traps, one after the other, around one key's partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ambush {
    /// The first waits from then on.
    pub from_ms: u64,
    pub key: u16,
    pub traps: Vec<Trap>,
}

/// What happens at a moment, or so long after it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trap {
    pub moment: Moment,
    pub wait_us: u64,
    pub deed: Deed,
    pub lasts_ms: u64,
}

/// When a trap springs, and at which node.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// As soon as a node serves.
    Now,
    /// A node serves in a later regime than when the trap was laid.
    Serves,
    /// A candidate asks for promises.
    Promises,
    /// It brings others to its state.
    Joins,
    /// It has proposed a configuration.
    Accepts,
    /// A configuration is chosen; its master does not serve yet.
    Named,
    /// The master has an entry that one of the other members has, and one has not.
    Parts,
    /// A node other than the roster-master serves, and that one runs.
    Returns,
}

/// A node, as seen from the one at which the moment is.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    It,
    /// The last one that served before another one did.
    Before,
    /// Another member of the ISR, counted around.
    Member(u16),
    /// Somebody who is no member, counted around.
    Outside(u16),
    /// The roster-master.
    First,
}

/// What is done to a node.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// It is cut off from all other nodes.
    Cut(Role),
    /// Nobody hears it.
    Mute(Role),
    /// It hears nobody.
    Deafen(Role),
    /// It and another one lose each other.
    Part(Role, Role),
    /// The second does not hear the first.
    Hide(Role, Role),
    /// Two against all others.
    Together(Role, Role),
    Kill(Role),
    PowerOff(Role),
    Pause(Role),
    SlowDisk(Role),
    /// Its disk is lost.
    Wipe(Role),
    /// Its disk goes back to what it is now.
    PutBack(Role),
    /// What ambushes have done ends.
    Heal,
}

impl Deed {
    /// The class of the fault that comes of it.
    pub fn class(self) -> Option<FaultClass> {
        match self {
            Deed::Cut(_) => Some(FaultClass::Drop),
            Deed::Mute(_) | Deed::Deafen(_) | Deed::Hide(..) => Some(FaultClass::OneWay),
            Deed::Part(..) | Deed::Together(..) => Some(FaultClass::Split),
            Deed::Kill(_) | Deed::PowerOff(_) => Some(FaultClass::Crash),
            Deed::Pause(_) => Some(FaultClass::Pause),
            Deed::SlowDisk(_) => Some(FaultClass::SlowDisk),
            Deed::Wipe(_) => Some(FaultClass::Rot),
            Deed::PutBack(_) => Some(FaultClass::OlderImage),
            Deed::Heal => None,
        }
    }

    /// The faults it comes to, with the hosts that have its roles.
    pub fn faults(self, hosts: u16, host_of: &dyn Fn(Role) -> Option<u16>) -> Vec<FaultKind> {
        let others = |these: &[u16]| (0..hosts).filter(|at| !these.contains(at)).collect();
        let one = |role: Role, kind: &dyn Fn(u16) -> Vec<FaultKind>| {
            host_of(role).map(kind).unwrap_or_default()
        };
        let two = |a: Role, b: Role, kind: &dyn Fn(u16, u16) -> FaultKind| {
            let both = host_of(a).zip(host_of(b)).filter(|(a, b)| a != b);
            both.map(|(a, b)| kind(a, b)).into_iter().collect()
        };
        match self {
            Deed::Cut(role) => {
                one(role, &|at| vec![FaultKind::Split { left: vec![at], right: others(&[at]) }])
            }
            Deed::Mute(role) => one(role, &|at| {
                let all: Vec<u16> = others(&[at]);
                all.into_iter().map(|to| FaultKind::DropOut { at, to }).collect()
            }),
            Deed::Deafen(role) => one(role, &|at| {
                let all: Vec<u16> = others(&[at]);
                all.into_iter().map(|from| FaultKind::DropIn { at, from }).collect()
            }),
            Deed::Part(a, b) => {
                two(a, b, &|a, b| FaultKind::Split { left: vec![a], right: vec![b] })
            }
            Deed::Hide(a, b) => two(a, b, &|at, to| FaultKind::DropOut { at, to }),
            Deed::Together(a, b) => {
                two(a, b, &|a, b| FaultKind::Split { left: vec![a, b], right: others(&[a, b]) })
            }
            Deed::Kill(role) => one(role, &|host| vec![FaultKind::Crash { host, power: false }]),
            Deed::PowerOff(role) => one(role, &|host| vec![FaultKind::Crash { host, power: true }]),
            Deed::Pause(role) => one(role, &|host| vec![FaultKind::Pause { host }]),
            Deed::SlowDisk(role) => {
                one(role, &|host| vec![FaultKind::SlowDisk { host, times: 100 }])
            }
            Deed::Wipe(role) => {
                let remedy = Remedy::Wipe;
                one(role, &|host| vec![FaultKind::Rot { host, bits: 1, remedy }])
            }
            Deed::PutBack(role) => one(role, &|host| vec![FaultKind::OlderImage { host }]),
            Deed::Heal => Vec::new(),
        }
    }
}

impl StrongPlan {
    /// What ambushes do.
    pub fn deeds(&self) -> impl Iterator<Item = Deed> {
        self.ambushes.iter().flat_map(|ambush| &ambush.traps).map(|trap| trap.deed)
    }
}

impl Plan {
    /// Whether there is a fault of this class.
    pub fn has_fault(&self, class: FaultClass) -> bool {
        let deeds = self.strong.iter().flat_map(StrongPlan::deeds);
        self.faults.iter().any(|fault| fault.kind.class() == class)
            || deeds.filter_map(Deed::class).any(|of| of == class)
    }
}

/// What plans are made around.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Story {
    /// An entry gets to one member, and then its master is lost.
    HalfReplicated,
    /// A second failure during the change that follows a first one.
    Twice,
    /// A master stands still, others go on without it, and clients still ask it.
    Stale,
    /// The roster-master comes back slowly, with much to catch up.
    HandBack,
    /// A disk is lost between two splits.
    Wiped,
    /// A master that stood still goes on while another takes its place.
    Late,
    /// A disk goes back to what it was a moment ago.
    Older,
    /// Rosters change, two at a time, and sides are lost meanwhile.
    Moving,
    /// A host loses power with a promise on its way to the disk.
    Forgets,
    /// Anything.
    Wild,
}

const STORIES: [Story; 10] = [
    Story::HalfReplicated,
    Story::Twice,
    Story::Stale,
    Story::HandBack,
    Story::Wiped,
    Story::Late,
    Story::Older,
    Story::Moving,
    Story::Forgets,
    Story::Wild,
];

/// Makes a plan one around ambushes, or leaves it as it is.
pub(super) fn lay(plan: &mut Plan, seed: u64) {
    let mut draw = Draw::new(seed, "strong ambush");
    if !draw.percent(PERCENT) {
        return;
    }
    let story = draw.pick(&STORIES);
    let keeps_faults = draw.percent(25) && story != Story::Older;
    if draw.percent(50) && !keeps_faults {
        plan.nodes.truncate(3);
    }
    if story == Story::Forgets {
        plan.nodes.iter_mut().for_each(|node| node.log = Some(LogPlan::EverySec));
    }
    let hosts = plan.nodes.len() as u16;
    // Disks are lost in no other way than by the story's.
    let of_disks = |class| matches!(class, FaultClass::Rot | FaultClass::OlderImage);
    let load_ms = BEGIN_MS + draw.between(2500, 9000);
    plan.load_ms = load_ms;
    plan.faults
        .retain(|fault| keeps_faults && fault.at_ms < load_ms && !of_disks(fault.kind.class()));
    let slow = draw.pick(&[0, 0, 1000, 5000]);
    plan.network.latency_min_us += slow;
    plan.network.latency_mean_us += slow;
    if draw.percent(70) {
        (plan.network.loss_permille, plan.network.reorder_permille) = (0, 0);
    }
    let Some(strong) = &mut plan.strong else { return };
    strong.racks.truncate(plan.nodes.len());
    strong.proxies.retain(|&host| host < hosts);
    strong.revive = strong.revive.filter(|&host| host < hosts);
    strong.interval_ms = draw.pick(&[20, 20, 50]);
    strong.copies = draw.pick(&[2, 2, 3, 3]).min(hosts as u8);
    strong.partitions = draw.pick(&[1, 1, 2, 4]);
    let timeout_ms = strong.interval_ms * strong.timeout_intervals;
    strong.clients = busy(&mut draw, hosts, load_ms);
    if story == Story::Moving {
        strong.first = some(&mut draw, hosts);
        strong.changes = changes(&mut draw, hosts, load_ms);
    } else if story != Story::Wiped {
        (strong.first, strong.changes) = (Vec::new(), Vec::new());
    } else {
        strong.first = Vec::new();
        strong.changes = readmissions(&mut draw, hosts, load_ms);
    }
    let (mut from_ms, mut ambushes) = (BEGIN_MS + draw.between(50, 800), Vec::new());
    let lossy = matches!(story, Story::Wiped | Story::Older);
    while from_ms < load_ms && ambushes.len() < if lossy { 1 } else { 4 } {
        let traps = traps(story, &mut draw, timeout_ms);
        ambushes.push(Ambush { from_ms, key: draw.below(2) as u16, traps });
        from_ms += draw.between(2 * timeout_ms, 12 * timeout_ms + 1000);
    }
    strong.ambushes = ambushes;
}

fn traps(story: Story, draw: &mut Draw, timeout_ms: u64) -> Vec<Trap> {
    let long = draw.between(2 * timeout_ms, 10 * timeout_ms);
    let soon = |draw: &mut Draw| draw.magnitude(1, 20_000) - 1;
    let trap = |moment, wait_us, deed, lasts_ms| Trap { moment, wait_us, deed, lasts_ms };
    let (one, other) = (Role::Member(draw.below(3) as u16), Role::Outside(draw.below(6) as u16));
    let change = draw.pick(&[
        Moment::Promises,
        Moment::Joins,
        Moment::Accepts,
        Moment::Named,
        Moment::Serves,
    ]);
    match story {
        Story::HalfReplicated => {
            let hides =
                draw.pick(&[Deed::Hide(Role::It, one), Deed::SlowDisk(one), Deed::Pause(one)]);
            vec![
                trap(Moment::Now, 0, hides, long.min(timeout_ms)),
                trap(Moment::Parts, soon(draw), loss(draw, Role::It), long),
                trap(change, soon(draw), loss(draw, Role::It), draw.between(10, long)),
                trap(Moment::Serves, soon(draw), Deed::Heal, 0),
            ]
        }
        Story::Twice => vec![
            trap(Moment::Now, soon(draw), loss(draw, Role::It), long),
            trap(change, soon(draw) / 4, loss(draw, Role::It), long),
            trap(Moment::Serves, soon(draw), Deed::Heal, 0),
        ],
        Story::Stale => {
            let wait = draw.between(20, 600) * 1000;
            vec![
                trap(Moment::Now, soon(draw), Deed::Pause(Role::It), 10_000),
                trap(Moment::Serves, wait, Deed::Heal, 0),
            ]
        }
        Story::HandBack => {
            let slows = draw.pick(&[
                Deed::SlowDisk(Role::First),
                Deed::Pause(Role::First),
                Deed::Hide(Role::First, Role::It),
                Deed::Hide(Role::It, Role::First),
            ]);
            let away = loss(draw, Role::First);
            vec![
                trap(Moment::Now, soon(draw), away, draw.between(timeout_ms, timeout_ms + 2000)),
                trap(Moment::Returns, soon(draw), slows, draw.between(10, long)),
                trap(change, soon(draw) / 4, loss(draw, Role::It), draw.between(10, long)),
            ]
        }
        Story::Wiped => {
            let wait = draw.between(50, 800) * 1000;
            let wipe = Deed::Wipe(draw.pick(&[other, other, one]));
            // It comes back without having met those who know what it has forgotten.
            vec![
                trap(Moment::Now, soon(draw), Deed::Cut(Role::It), 10_000),
                trap(Moment::Serves, wait, wipe, 10_000),
                trap(Moment::Now, soon(draw), Deed::Heal, 0),
                trap(Moment::Now, 0, Deed::Cut(Role::It), long),
                trap(Moment::Serves, soon(draw), Deed::Heal, 0),
            ]
        }
        Story::Forgets => {
            let role = draw.pick(&[Role::It, one, other]);
            let early = draw.pick(&[Moment::Promises, Moment::Promises, Moment::Joins, change]);
            vec![
                trap(Moment::Now, soon(draw), loss(draw, Role::It), long),
                trap(early, soon(draw) / 4, Deed::PowerOff(role), draw.between(5, 300)),
                trap(Moment::Serves, soon(draw), Deed::Heal, 0),
            ]
        }
        Story::Late => vec![
            trap(Moment::Now, soon(draw), Deed::Pause(Role::It), 10_000),
            trap(change, soon(draw) / 8, Deed::Heal, 0),
        ],
        Story::Older => {
            let whose = draw.pick(&[Role::It, Role::It, one]);
            let back = trap(Moment::Now, soon(draw), Deed::PutBack(whose), draw.magnitude(1, 400));
            if draw.percent(50) {
                return vec![back];
            }
            // What it serves alone is vouched for by others.
            let alone = trap(Moment::Now, soon(draw), Deed::Kill(one), 10_000);
            vec![alone, Trap { moment: Moment::Serves, ..back }]
        }
        Story::Moving | Story::Wild => (0..draw.between(1, 4)).map(|_| wild(draw, long)).collect(),
    }
}

/// A way to lose a node.
fn loss(draw: &mut Draw, role: Role) -> Deed {
    draw.pick(&[
        Deed::Cut(role),
        Deed::Cut(role),
        Deed::Mute(role),
        Deed::Kill(role),
        Deed::PowerOff(role),
        Deed::Pause(role),
    ])
}

fn wild(draw: &mut Draw, long: u64) -> Trap {
    let role = |draw: &mut Draw| {
        let (one, other) = (draw.below(3) as u16, draw.below(6) as u16);
        draw.pick(&[
            Role::It,
            Role::It,
            Role::Before,
            Role::Member(one),
            Role::Outside(other),
            Role::First,
        ])
    };
    let (a, b) = (role(draw), role(draw));
    let lost = loss(draw, a);
    let deed = draw.pick(&[
        lost,
        lost,
        lost,
        Deed::Deafen(a),
        Deed::Part(a, b),
        Deed::Hide(a, b),
        Deed::Together(a, b),
        Deed::SlowDisk(a),
        Deed::Heal,
    ]);
    let moment = draw.pick(&[
        Moment::Now,
        Moment::Serves,
        Moment::Promises,
        Moment::Joins,
        Moment::Accepts,
        Moment::Named,
        Moment::Parts,
        Moment::Returns,
    ]);
    let (wait_us, lasts_ms) = (draw.magnitude(1, 50_000) - 1, draw.magnitude(5, long));
    Trap { moment, wait_us, deed, lasts_ms }
}

fn some(draw: &mut Draw, hosts: u16) -> Vec<u16> {
    let all: Vec<u16> = (0..hosts).filter(|_| draw.percent(55)).collect();
    if all.is_empty() { vec![0] } else { all }
}

/// Operators want other rosters, often two at once.
fn changes(draw: &mut Draw, hosts: u16, load_ms: u64) -> Vec<RosterChange> {
    let mut changes = Vec::new();
    let mut at_ms = BEGIN_MS + draw.between(50, 1500);
    while at_ms < load_ms && changes.len() < 6 {
        let host = draw.below(u64::from(hosts)) as u16;
        let nodes = if draw.percent(15) { Vec::new() } else { some(draw, hosts) };
        changes.push(RosterChange { at_ms, host, nodes });
        at_ms += if draw.percent(50) { draw.below(40) } else { draw.between(200, 2500) };
    }
    changes
}

/// An operator admits what has come with a new disk.
fn readmissions(draw: &mut Draw, hosts: u16, load_ms: u64) -> Vec<RosterChange> {
    if draw.percent(50) {
        return Vec::new();
    }
    let change = |draw: &mut Draw| RosterChange {
        at_ms: draw.between(BEGIN_MS + 500, load_ms),
        host: draw.below(u64::from(hosts)) as u16,
        nodes: Vec::new(),
    };
    let mut changes: Vec<RosterChange> = (0..6).map(|_| change(draw)).collect();
    changes.sort_by_key(|change| change.at_ms);
    changes
}

/// Clients that hardly pause: some give up early and ask elsewhere, some do nothing but read, and wait.
fn busy(draw: &mut Draw, hosts: u16, load_ms: u64) -> Vec<StrongClient> {
    let keys = draw.between(1, 2);
    let steps = |draw: &mut Draw, gap: u64, reads: bool| {
        let (mut at, mut steps) = (0, Vec::new());
        while at < load_ms - BEGIN_MS && steps.len() < 250 {
            let wait_ms = draw.between(0, 2 * gap);
            at += wait_ms;
            let what = match draw.below(if reads { 6 } else { 20 }) {
                0..=5 => StrongOp::Get,
                6..=13 => StrongOp::Append,
                14..=15 => StrongOp::Set,
                16..=17 => StrongOp::Brief,
                _ => StrongOp::Del,
            };
            steps.push(StrongStep { wait_ms, key: draw.below(keys) as u16, what });
        }
        steps
    };
    (0..draw.between(3, 6))
        .map(|nth| {
            let reads = nth >= 2 && draw.percent(40);
            let gap = if reads { draw.magnitude(20, 300) } else { draw.magnitude(3, 60) };
            StrongClient {
                host: draw.below(u64::from(hosts)) as u16,
                resends: false,
                steps: steps(draw, gap, reads),
                reads_copies: false,
                waits_every: 0,
                patience_ms: if draw.percent(60) { draw.between(150, 1500) } else { 0 },
                in_hashes: false,
            }
        })
        .collect()
}
