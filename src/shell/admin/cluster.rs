//! Who is in the cluster, and what each of them answers.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use super::client::{Address, Client};
use crate::strong::{NodeName, RosterNode};

/// What a node is asked.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Question {
    Roster,
    Pmap,
    Config,
    Info,
}

pub type Fields = BTreeMap<String, String>;

/// How the servers are reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// The node that is asked for the others.
    pub first: Address,
    pub password: Option<String>,
}

/// A node of the cluster, as far as it has answered.
#[derive(Debug)]
pub struct Member {
    pub node: RosterNode,
    pub address: Option<Address>,
    /// By question; or why there is no answer.
    pub answers: Result<BTreeMap<Question, Fields>, String>,
}

impl Member {
    pub fn told(&self, question: Question, name: &str) -> Option<&String> {
        self.answers.as_ref().ok()?.get(&question)?.get(name)
    }
}

/// What the node asked first knows, and what its nodes answer.
#[derive(Debug)]
pub struct Cluster {
    /// Its answer to [`Question::Roster`].
    pub roster: Fields,
    /// By rack, then by name.
    pub members: Vec<Member>,
}

impl Question {
    fn ask(self, client: &mut Client) -> Result<Fields, String> {
        match self {
            Question::Roster => Ok(client.ask(&["QUORATE", "ROSTER", "SHOW"])?.pairs()),
            Question::Pmap => Ok(client.ask(&["QUORATE", "PMAP"])?.pairs()),
            Question::Config => {
                let names = super::directives();
                let words: Vec<&str> = ["CONFIG", "GET"].into_iter().chain(names).collect();
                Ok(client.ask(&words)?.pairs())
            }
            Question::Info => Ok(client.ask(&["INFO"])?.lines()),
        }
    }
}

impl Access {
    /// A command to the node asked first.
    ///
    /// # Errors
    /// Its refusal, or why it is not reached.
    pub fn command(&self, words: &[&str]) -> Result<(), String> {
        let mut client = self.connect()?;
        client.ask(words).map(drop).map_err(|why| self.complain(&why))
    }

    /// The same, with the fields of its answer.
    ///
    /// # Errors
    /// As there.
    pub fn ask(&self, words: &[&str]) -> Result<Fields, String> {
        let mut client = self.connect()?;
        client.ask(words).map(|reply| reply.pairs()).map_err(|why| self.complain(&why))
    }

    /// What the node asked first knows of the roster.
    ///
    /// # Errors
    /// As [`Access::command`].
    pub fn roster(&self) -> Result<Fields, String> {
        let mut client = self.connect()?;
        Question::Roster.ask(&mut client).map_err(|why| self.complain(&why))
    }

    /// Asks all nodes, at once: one that does not answer takes its time.
    ///
    /// # Errors
    /// As [`Access::command`]; another node that does not answer is no error.
    pub fn gather(&self, questions: &[Question]) -> Result<Cluster, String> {
        let roster = self.roster()?;
        let mut addresses = addresses(&roster);
        let me = roster.get("node").and_then(|name| name.parse::<NodeName>().ok());
        if let Some(me) = me {
            // It was reached there, whatever it is told to announce.
            addresses.insert(me, self.first.clone());
        }
        let nodes = nodes(&roster);
        let ask = |node: &RosterNode| {
            let address = addresses.get(&node.name);
            let answers = match address {
                Some(address) => self.interview(node.name, address, questions),
                None => Err("its address is not known".to_owned()),
            };
            Member { node: *node, address: address.cloned(), answers }
        };
        let members = thread::scope(|scope| {
            let asked: Vec<_> = nodes.iter().map(|node| scope.spawn(|| ask(node))).collect();
            asked.into_iter().map(|one| one.join().expect("asking does not panic")).collect()
        });
        Ok(Cluster { roster, members })
    }

    fn interview(
        &self,
        name: NodeName,
        address: &Address,
        questions: &[Question],
    ) -> Result<BTreeMap<Question, Fields>, String> {
        let mut client = Client::connect(address, self.password.as_deref())?;
        let said = Question::Roster.ask(&mut client)?.remove("node").unwrap_or_default();
        if said.parse().ok() != Some(name) {
            return Err(format!("the node at this address is {said}"));
        }
        questions.iter().map(|&question| Ok((question, question.ask(&mut client)?))).collect()
    }

    fn connect(&self) -> Result<Client, String> {
        let client = Client::connect(&self.first, self.password.as_deref());
        client.map_err(|why| self.complain(&why))
    }

    fn complain(&self, why: &str) -> String {
        format!("{}: {why}", self.first)
    }
}

/// A list such as `A129@33,A352@33`.
pub fn parse_nodes(list: &str) -> Vec<RosterNode> {
    list.split(',').filter_map(|node| node.parse().ok()).collect()
}

/// The nodes of the roster and those beside it, by rack and name; the rack is that of the roster.
fn nodes(roster: &Fields) -> Vec<RosterNode> {
    let list = |name: &str| roster.get(name).map(|list| parse_nodes(list)).unwrap_or_default();
    let mut nodes = list("roster");
    let known: BTreeSet<NodeName> = nodes.iter().map(|node| node.name).collect();
    nodes.extend(list("observed").into_iter().filter(|node| !known.contains(&node.name)));
    nodes.sort_by_key(|node| (node.rack, node.name));
    nodes
}

/// Where nodes are reached, of a list such as `A129 10.0.0.1 6379,A352 10.0.0.2 6379`.
fn addresses(roster: &Fields) -> BTreeMap<NodeName, Address> {
    let list = roster.get("addresses").map(String::as_str).unwrap_or_default();
    let parse = |text: &str| {
        let mut words = text.split(' ');
        let name = words.next()?.parse().ok()?;
        let host = words.next().filter(|host| !host.is_empty())?.to_owned();
        Some((name, Address { host, port: words.next()?.parse().ok()? }))
    };
    list.split(',').filter_map(parse).collect()
}
