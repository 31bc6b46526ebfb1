//! What each show asks, and how it is shown.

use super::cluster::{Cluster, Member, Question, parse_nodes};
use super::table::{Cell, Column, Table, quote};
use crate::strong::{RackId, RosterNode};

/// Something to print.
#[derive(Debug)]
pub struct Page {
    tables: Vec<Table>,
    /// Sentences below the tables.
    notes: Vec<String>,
}

impl Page {
    fn new(cluster: &Cluster, tables: Vec<Table>) -> Page {
        let silent = cluster.members.iter().filter_map(|member| {
            let why = member.answers.as_ref().err()?;
            let at = member.address.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
            Some(format!("{}{at} does not answer: {why}", member.node.name))
        });
        Page { tables, notes: silent.collect() }
    }

    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    pub fn print(&self, time: &str) -> String {
        let mut text = String::new();
        self.tables.iter().for_each(|table| table.print(time, &mut text));
        for note in &self.notes {
            text.push_str(note);
            text.push('\n');
        }
        text
    }

    pub fn json(&self, time: &str) -> String {
        let tables = self.tables.iter().map(|table| table.json(time)).collect::<Vec<_>>();
        let notes = self.notes.iter().map(|note| quote(note)).collect::<Vec<_>>();
        format!("{{\"tables\":[{}],\"notes\":[{}]}}\n", tables.join(","), notes.join(","))
    }
}

fn address(member: &Member) -> Cell {
    member.address.as_ref().map_or(Cell::Unknown, |address| Cell::Text(address.to_string()))
}

fn name(member: &Member) -> Cell {
    Cell::Text(member.node.name.to_string())
}

fn rack(member: &Member) -> Cell {
    Cell::Number(u64::from(member.node.rack.0))
}

/// `info`: the nodes, and the records they hold.
pub fn info(cluster: &Cluster) -> Page {
    let network = vec![
        Column::text("Node"),
        Column::text("Node ID"),
        Column::text("Up"),
        Column::text("Build"),
        Column::text("Name").within("Cluster"),
        Column::text("ID").within("Cluster"),
        Column::text("Sees").within("Cluster"),
        Column::number("Clients"),
        Column::text("Uptime"),
    ];
    let mut network = Table::new("Network Information", network);
    let group = "Records";
    let objects = vec![
        Column::text("Node"),
        Column::text("Node ID"),
        Column::number("Rack"),
        Column::number("Replication factor"),
        Column::number("Total").within(group),
        Column::number("Master").within(group),
        Column::number("Prole").within(group),
        Column::number("Non-Replica").within(group),
    ];
    let mut objects = Table::new("Object Information", objects).summed();
    for member in &cluster.members {
        let info = |name: &str| member.told(Question::Info, name);
        let uptime = info("uptime_in_seconds").and_then(|text| text.parse().ok()).map(duration);
        let up = if member.answers.is_ok() { "yes" } else { "no" };
        let sees = member.told(Question::Roster, "observed");
        let sees = sees.map(|list| parse_nodes(list).len().to_string());
        network.row(vec![
            address(member),
            name(member),
            Cell::Text(up.to_owned()),
            Cell::text(info("quorate_version")),
            Cell::text(member.told(Question::Config, "cluster-name")),
            Cell::text(member.told(Question::Roster, "cluster")),
            Cell::text(sees.as_ref()),
            Cell::number(info("connected_clients")),
            Cell::text(uptime.as_ref()),
        ]);
        let kinds = ["master_records", "prole_records", "non_replica_records"];
        let [master, prole, other] =
            kinds.map(|kind| member.told(Question::Pmap, kind)?.parse::<u64>().ok());
        let total = master.zip(prole).zip(other).map(|((m, p), n)| m + p + n);
        let mut row = vec![
            address(member),
            name(member),
            rack(member),
            Cell::number(member.told(Question::Roster, "replication_factor")),
        ];
        row.extend([total, master, prole, other].map(|n| n.map_or(Cell::Unknown, Cell::Number)));
        objects.row(row);
    }
    Page::new(cluster, vec![network, objects])
}

/// `show pmap`: what each node is to the partitions.
pub fn pmap(cluster: &Cluster) -> Page {
    let group = "Partitions";
    let columns = vec![
        Column::text("Node"),
        Column::text("Node ID"),
        Column::text("Cluster ID"),
        Column::number("Primary").within(group),
        Column::number("Secondary").within(group),
        Column::number("Unavailable").within(group),
        Column::number("Dead").within(group),
    ];
    let mut table = Table::new("Partition Map Analysis", columns).summed();
    for member in &cluster.members {
        let cluster = member.told(Question::Roster, "cluster");
        let mut row = vec![address(member), name(member), Cell::text(cluster)];
        let kinds = ["primary", "secondary", "unavailable", "dead"];
        row.extend(kinds.map(|kind| Cell::number(member.told(Question::Pmap, kind))));
        table.row(row);
    }
    Page::new(cluster, vec![table])
}

/// `show roster`: what is in force, what is staged, who is there, as each node knows it.
pub fn roster(cluster: &Cluster) -> Page {
    let columns = vec![
        Column::text("Node"),
        Column::text("Node ID"),
        Column::text("Current Roster"),
        Column::text("Pending Roster"),
        Column::text("Observed Nodes"),
    ];
    let mut table = Table::new("Roster", columns);
    for member in &cluster.members {
        let list = |name: &str| match member.told(Question::Roster, name) {
            Some(list) if list.is_empty() => Cell::Text("null".to_owned()),
            list => Cell::text(list),
        };
        let lists = [list("roster"), list("pending"), list("observed")];
        table.row([address(member), name(member)].into_iter().chain(lists).collect());
    }
    let mut page = Page::new(cluster, vec![table]);
    let moving = cluster.roster.get("moving").map_or("0", String::as_str);
    if moving != "0" && cluster.roster.get("roster").is_some_and(|list| !list.is_empty()) {
        page.note(format!("{moving} partitions have not yet come to the current roster"));
    }
    page
}

/// `show racks`: the nodes of each rack.
pub fn racks(cluster: &Cluster) -> Page {
    let list = |name: &str| cluster.roster.get(name).map(String::as_str).unwrap_or_default();
    let in_force = parse_nodes(list("roster"));
    let founded = !in_force.is_empty();
    let (title, nodes) = if founded {
        ("Racks", in_force)
    } else {
        ("Racks of the nodes observed", parse_nodes(list("observed")))
    };
    let mut racks: Vec<RackId> = nodes.iter().map(|node| node.rack).collect();
    racks.sort_unstable();
    racks.dedup();
    let mut table = Table::new(title, vec![Column::number("Rack ID"), Column::text("Nodes")]);
    for rack in racks {
        let of = nodes.iter().filter(|node| node.rack == rack).map(|node| node.name.to_string());
        let names = of.collect::<Vec<_>>().join(",");
        table.row(vec![Cell::Number(u64::from(rack.0)), Cell::Text(names)]);
    }
    let mut page = Page::new(cluster, vec![table]);
    if !founded {
        page.note(NO_ROSTER.to_owned());
    }
    page
}

const NO_ROSTER: &str = "no roster is in force: see 'manage roster stage' and 'manage recluster'";

/// `show config`: strong mode's directives on each node, and where the roster says otherwise.
pub fn config(cluster: &Cluster) -> Page {
    let mut columns = vec![Column::text("Directive")];
    let names = cluster.members.iter().map(|member| member.node.name.to_string());
    columns.extend(names.map(|name| Column::text(&name).keyed(name)));
    let mut table = Table::new("Strong Consistency Configuration", columns);
    for directive in super::directives() {
        let values = cluster.members.iter();
        let values = values.map(|member| Cell::text(member.told(Question::Config, directive)));
        let first = Cell::Text(directive.to_owned());
        table.row([first].into_iter().chain(values).collect());
    }
    let mut page = Page::new(cluster, vec![table]);
    let in_force = cluster.roster.get("roster").map(|list| parse_nodes(list)).unwrap_or_default();
    let factor = cluster.roster.get("replication_factor").map(String::as_str).unwrap_or_default();
    if in_force.is_empty() {
        page.note(NO_ROSTER.to_owned());
    } else {
        cluster.members.iter().for_each(|member| differences(member, &in_force, factor, &mut page));
    }
    page
}

/// What a node's configuration says otherwise than the roster, which is what counts.
fn differences(member: &Member, in_force: &[RosterNode], factor: &str, page: &mut Page) {
    let name = member.node.name;
    let Some(node) = in_force.iter().find(|node| node.name == name) else { return };
    let rack = node.rack.0.to_string();
    for (directive, roster) in [("replication-factor", factor), ("rack-id", &rack)] {
        let Some(configured) = member.told(Question::Config, directive) else { continue };
        if configured != roster {
            page.note(format!(
                "{name}: {directive} {configured} in its configuration, {roster} in the roster; \
                 the roster's is in force"
            ));
        }
    }
}

/// Seconds as `1d 02:03:04`.
fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days > 0 { format!("{days}d {clock}") } else { clock }
}
