//! `quorate admin`: looks at a strong cluster from outside, as its operator, and begins it. It asks the node it is pointed
//! at, finds the others through that one, and asks each of them.

mod client;
mod cluster;
mod revive;
mod show;
mod table;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{ArgAction, Args, Subcommand};

use self::client::Address;
use self::cluster::{Access, Fields, Question, parse_nodes};
use self::show::Page;
use crate::node::strong::directives::DIRECTIVES;
use crate::strong::RosterNode;

const RACK: &str = "expected: rack-id to RACK with NODE…, such as rack-id to 32 with A129 A352";

/// How long nodes may take to accept a roster.
const ACCEPTANCE: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
pub struct Admin {
    /// The node to ask; it tells where the others are
    #[arg(short = 'h', long, default_value = "127.0.0.1", global = true)]
    host: String,
    #[arg(short, long, default_value_t = 6379, global = true)]
    port: u16,
    /// The password of all nodes
    #[arg(short = 'a', long, value_name = "PASS", global = true)]
    pass: Option<String>,
    /// Print JSON, one document a line
    #[arg(long, global = true)]
    json: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help, global = true)]
    help: Option<bool>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    #[command(flatten)]
    Look(Look),
    /// Begin a cluster, or change its roster
    #[command(subcommand)]
    Manage(Manage),
    /// Look again and again: watch [--every 2s] info | show …
    Watch {
        /// The pause between two looks: 2, 2s or 500ms
        #[arg(long, default_value = "2s", value_parser = parse_pause)]
        every: Duration,
        #[command(subcommand)]
        look: Look,
    },
}

#[derive(Subcommand, Copy, Clone, Debug)]
enum Look {
    /// The nodes, and the records they hold
    Info,
    /// One table
    #[command(subcommand)]
    Show(Show),
}

#[derive(Subcommand, Copy, Clone, Debug)]
enum Show {
    /// Of how many partitions each node is master, replica, or knows no master
    Pmap,
    /// The roster in force, the one staged and the nodes observed, as each node knows them
    Roster,
    /// The nodes of each rack
    Racks,
    /// Strong mode's directives on each node, and where the roster says otherwise
    Config,
}

#[derive(Subcommand, Debug)]
enum Manage {
    /// Say which nodes the roster is to have
    #[command(subcommand)]
    Roster(ManageRoster),
    /// Keep another setting of nodes ready on the node asked: rack-id to 32 with A129 A352
    #[command(subcommand)]
    Config(ManageConfig),
    /// Put the staged roster in force, and admit the new disks of nodes that stay
    Recluster {
        /// Say what would come of it, and which partitions would be unavailable; change nothing
        #[arg(long)]
        dry_run: bool,
        /// Also if as many nodes would leave at once as there are copies, or more
        #[arg(long)]
        force: bool,
    },
    /// Open partitions that have no intact copy left, or too few voters, without what is lost: all nodes have to be there
    Revive {
        /// Say which partitions, and whose new disks would be admitted; change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Subcommand, Debug)]
enum ManageConfig {
    /// The rack of nodes of the roster that is staged, or in force if none is: to RACK with NODE…
    RackId {
        /// Such as: to 32 with A129 A352
        #[arg(required = true, value_name = "to RACK with NODE")]
        words: Vec<String>,
    },
}

#[derive(Subcommand, Debug)]
enum ManageRoster {
    /// Keep a roster ready on the node asked
    #[command(subcommand)]
    Stage(Stage),
}

#[derive(Subcommand, Debug)]
enum Stage {
    /// All nodes that are connected, with their racks
    Observed,
    /// These nodes
    Nodes(Named),
    /// These beside those staged, or in force if none are
    Add(Named),
    /// Those staged, or in force if none are, without these
    Remove(Named),
}

#[derive(Args, Debug)]
struct Named {
    /// Such as A129@33: a node's name and its rack
    #[arg(required = true, value_name = "NODE[@RACK]", value_parser = parse_node)]
    nodes: Vec<RosterNode>,
}

pub const EXAMPLES: &str = "\
Any node may be asked; one that does not answer is a row of ~~.

  quorate admin -h 10.0.0.1 -p 6379 manage roster stage observed
  quorate admin -h 10.0.0.1 -p 6379 manage recluster
  quorate admin -h 10.0.0.1 manage roster stage remove A129
  quorate admin -h 10.0.0.1 manage config rack-id to 32 with A129 A352
  quorate admin -h 10.0.0.1 manage recluster --dry-run
  quorate admin -h 10.0.0.1 manage revive --dry-run
  quorate admin -h 10.0.0.1 info
  quorate admin -h 10.0.0.1 -a SECRET --json show pmap
  quorate admin -h 10.0.0.1 watch --every 500ms show pmap

Exit codes: 0 done; 1 the node asked refused or was not reached; 2 bad usage.";

/// Runs the command: 0 if it was done, 1 if the node asked has refused or was not reached.
pub fn run(admin: &Admin) -> ExitCode {
    let first = Address { host: admin.host.clone(), port: admin.port };
    let access = Access { first, password: admin.pass.clone() };
    let page = match &admin.action {
        Action::Look(look) => look.page(&access),
        Action::Manage(manage) => manage.run(&access),
        Action::Watch { every, look } => return watch(*look, *every, &access, admin.json),
    };
    match page {
        // Nobody is left to be told that nobody reads.
        Ok(page) => print(&page, admin.json).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

impl Look {
    fn page(self, access: &Access) -> Result<Page, String> {
        match self {
            Look::Info => {
                let all = [Question::Roster, Question::Pmap, Question::Config, Question::Info];
                access.gather(&all).map(|cluster| show::info(&cluster))
            }
            Look::Show(Show::Pmap) => {
                let both = [Question::Roster, Question::Pmap];
                access.gather(&both).map(|cluster| show::pmap(&cluster))
            }
            Look::Show(Show::Roster) => {
                access.gather(&[Question::Roster]).map(|cluster| show::roster(&cluster))
            }
            Look::Show(Show::Racks) => access.gather(&[]).map(|cluster| show::racks(&cluster)),
            Look::Show(Show::Config) => {
                access.gather(&[Question::Config]).map(|cluster| show::config(&cluster))
            }
        }
    }
}

impl Manage {
    fn run(&self, access: &Access) -> Result<Page, String> {
        let done = match self {
            Manage::Roster(ManageRoster::Stage(stage)) => {
                let mut words = vec!["QUORATE", "ROSTER", "STAGE"];
                let nodes: Vec<String> = match stage {
                    Stage::Observed => vec!["OBSERVED".to_owned()],
                    Stage::Nodes(named) => named.words("NODES"),
                    Stage::Add(named) => named.words("ADD"),
                    Stage::Remove(named) => named.words("REMOVE"),
                };
                words.extend(nodes.iter().map(String::as_str));
                access.command(&words)?;
                "staged: 'manage recluster' on the same node puts it in force".to_owned()
            }
            Manage::Config(ManageConfig::RackId { words }) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let ["to", rack, "with", nodes @ ..] = &words[..] else {
                    return Err(format!("found '{}', {RACK}", words.join(" ")));
                };
                if nodes.is_empty() {
                    return Err(format!("found no node, {RACK}"));
                }
                let stage = ["QUORATE", "ROSTER", "STAGE", "RACK", rack];
                let all: Vec<&str> = stage.iter().chain(nodes).copied().collect();
                access.command(&all)?;
                "staged: 'manage recluster' on the same node puts it in force".to_owned()
            }
            Manage::Recluster { dry_run, force } => {
                let flags = [("FORCE", *force), ("DRY", *dry_run)];
                let flags = flags.into_iter().filter(|flag| flag.1).map(|flag| flag.0);
                let words: Vec<&str> = ["QUORATE", "RECLUSTER"].into_iter().chain(flags).collect();
                let before = access.roster()?;
                if *dry_run {
                    would(&access.ask(&words)?)
                } else {
                    access.command(&words)?;
                    await_roster(access, &before)?
                }
            }
            Manage::Revive { dry_run: true } => {
                revive::would(&access.ask(&["QUORATE", "REVIVE", "DRY"])?)
            }
            Manage::Revive { dry_run: false } => {
                let done = revive::run(access)?;
                let mut page = Look::Show(Show::Pmap).page(access)?;
                page.note(done);
                return Ok(page);
            }
        };
        let mut page = Look::Show(Show::Roster).page(access)?;
        page.note(done);
        Ok(page)
    }
}

impl Named {
    fn words(&self, kind: &str) -> Vec<String> {
        let nodes = self.nodes.iter().map(ToString::to_string);
        [kind.to_owned()].into_iter().chain(nodes).collect()
    }
}

/// The number of a node's roster; 0: it has none.
fn version(roster: &Fields) -> u64 {
    roster.get("version").and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// What a change would be.
fn would(change: &Fields) -> String {
    let of = |name: &str| change.get(name).map(String::as_str).unwrap_or_default();
    let list = |name: &str| if of(name).is_empty() { "nobody" } else { of(name) };
    let mut text = format!(
        "nothing was changed. It would add {}, remove {}, admit the new disks of {}, with \
         replication factor {}; with the nodes heard now {} partitions would be unavailable",
        list("added"),
        list("removed"),
        list("readmitted"),
        of("replication_factor"),
        of("unavailable")
    );
    if !of("unavailable_partitions").is_empty() {
        text.push_str(&format!(": {}", of("unavailable_partitions")));
    }
    text
}

/// A first roster is in force when all its nodes have written it down, a later one when it is decided; each node learns
/// that a little later. Then partitions come to it, one by one.
fn await_roster(access: &Access, before: &Fields) -> Result<String, String> {
    let list = |roster: &Fields, name: &str| {
        let mut nodes = roster.get(name).map(|list| parse_nodes(list)).unwrap_or_default();
        nodes.sort_unstable();
        nodes
    };
    // Without a staged one it is the same roster, with the new disks of its nodes.
    let staged = list(before, "pending");
    let wanted = if staged.is_empty() { list(before, "roster") } else { staged };
    let before = version(before);
    let begun = Instant::now();
    loop {
        let cluster = access.gather(&[Question::Roster])?;
        let answered = cluster.members.iter().filter_map(|member| member.answers.as_ref().ok());
        let mut rosters = answered.filter_map(|answers| answers.get(&Question::Roster));
        if rosters.all(|roster| version(roster) > before) {
            if list(&cluster.roster, "roster") != wanted {
                return Err(format!(
                    "{}: another roster that was proposed before has come into force, see 'show \
                     roster'; yours was not proposed: recluster again",
                    access.first
                ));
            }
            let moving = cluster.roster.get("moving").map_or("0", String::as_str);
            return Ok(match moving {
                "0" => "the roster is in force".to_owned(),
                moving => format!(
                    "the roster is in force; {moving} partitions are still to come to it, see \
                     'show roster'"
                ),
            });
        }
        if begun.elapsed() > ACCEPTANCE {
            return Err(format!(
                "{}: the roster is proposed, and not in force everywhere: not all nodes that have \
                 to have accepted it within {} s. A first one they accept when they can; propose \
                 another again if 'show roster' does not show it",
                access.first,
                ACCEPTANCE.as_secs()
            ));
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Ends when nobody reads any more. The node asked may be away for a while.
fn watch(look: Look, every: Duration, access: &Access, json: bool) -> ExitCode {
    loop {
        match look.page(access) {
            Ok(page) => {
                if print(&page, json).is_err() {
                    return ExitCode::FAILURE;
                }
            }
            Err(why) => eprintln!("{} {why}", time()),
        }
        thread::sleep(every);
    }
}

fn print(page: &Page, json: bool) -> io::Result<()> {
    let text = if json { page.json(&time()) } else { page.print(&time()) };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Names of strong mode's directives.
fn directives() -> impl Iterator<Item = &'static str> {
    DIRECTIVES.iter().map(|directive| directive.name)
}

fn parse_node(text: &str) -> Result<RosterNode, String> {
    text.parse().map_err(|error: crate::strong::roster::RosterError| error.to_string())
}

fn parse_pause(text: &str) -> Result<Duration, String> {
    let (digits, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number = digits.parse().ok().filter(|&number: &u32| number > 0);
    match (number, unit) {
        (Some(number), "" | "s") => Ok(Duration::from_secs(number.into())),
        (Some(number), "ms") => Ok(Duration::from_millis(number.into())),
        _ => Err("expected a time such as 2, 2s or 500ms".to_owned()),
    }
}

/// The time of day, in UTC.
fn time() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    utc(since.as_secs())
}

/// Seconds since 1970 as a date of the Gregorian calendar and a time.
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days from 1 March of the year 0: leap days are the last ones of their years then.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (era * 400 + year, month + 3),
        _ => (era * 400 + year + 1, month - 9),
    };
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_is_the_gregorian_one() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_723_455_884), "2024-08-12 09:44:44 UTC");
        assert_eq!(utc(4_107_542_399), "2100-02-28 23:59:59 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }

    #[test]
    fn a_pause_is_some_time() {
        assert_eq!(parse_pause("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_pause("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "0", "s", "2m", "-1", "1.5s"] {
            assert!(parse_pause(wrong).is_err(), "{wrong}");
        }
    }
}
