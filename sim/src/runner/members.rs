//! The hosts of the core, looked into, and what they lack of all that the core has.

use std::collections::BTreeMap;

use quorate::base::ids::Origin;
use quorate::node::Inspection;

use super::player::Player;
use crate::model::ledger::BootId;

/// One host of the core, looked into.
pub struct Member {
    pub host: u16,
    pub boot: BootId,
    pub replica: bool,
    pub inspection: Inspection,
}

/// The hosts of the core; None if one of them does not run.
pub fn members(player: &Player<'_>) -> Option<Vec<Member>> {
    player
        .plan
        .core()
        .into_iter()
        .map(|host| {
            let boot = player.boot(host)?;
            let id = player.hosts[host as usize];
            let machine = player.world.machine(id)?;
            let inspection = machine.node.inspect(player.world.now_at(id));
            let replica = player.plan.nodes[host as usize].replica;
            Some(Member { host, boot, replica, inspection })
        })
        .collect()
}

/// The newest unit of each origin that the core is to have: issued by a living master of it, or
/// covered by the vector of one. (What a plain replica wrote while it was none goes with its data.)
fn wanted(player: &Player<'_>, members: &[Member]) -> BTreeMap<Origin, u64> {
    let mut wanted = BTreeMap::new();
    for unit in player.book.ledger.units.iter().filter(|unit| !unit.traceless) {
        let held = members
            .iter()
            .any(|m| !m.replica && (m.boot == unit.boot || m.inspection.vector.covers(unit.dot)));
        if held {
            let newest = wanted.entry(unit.dot.origin).or_insert(0);
            *newest = unit.dot.time.max(*newest);
        }
    }
    wanted
}

/// Units that a member lacks.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Lag {
    pub host: u16,
    pub origin: Origin,
    /// The newest stamp time it has of the origin, and that of the newest unit.
    pub has: u64,
    pub newest: u64,
}

/// What members of the core lack of all that the core has.
pub fn lagging<'m>(player: &Player<'_>, members: &'m [Member]) -> impl Iterator<Item = Lag> + 'm {
    wanted(player, members).into_iter().flat_map(move |(origin, newest)| {
        let lag = move |member: &Member| {
            let has = member.inspection.vector.get(origin);
            (has < newest).then_some(Lag { host: member.host, origin, has, newest })
        };
        members.iter().filter_map(lag)
    })
}
