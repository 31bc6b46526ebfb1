//! Lines about the processes of hosts: servers and proxies.

use std::path::{Component, Path};

use super::super::ast::{Expect, HostIndex, Who};
use super::super::client::{Asked, Client};
use super::super::reply::like;
use super::super::stage::Trouble;
use super::super::words::Word;
use super::{ASK_AGAIN, Halt, PATIENCE, Player, Unmet, Why, trouble, unmet};
use crate::check::Property;

/// Where a server keeps its data if nothing is said.
const DATA_DIR: &str = "quorate-data";

/// A host as the lines have left it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Host {
    /// What was started last.
    program: Option<Program>,
    pub state: ServerState,
}

/// What runs on a host, with its flags.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Program {
    Server(Vec<String>),
    Proxy(Vec<String>),
}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum ServerState {
    #[default]
    Down,
    Up,
    Paused,
}

impl Host {
    fn is_proxy(&self) -> bool {
        match &self.program {
            Some(Program::Proxy(_)) => true,
            Some(Program::Server(_)) | None => false,
        }
    }

    /// The value of a flag of what was started last.
    fn flag(&self, name: &str) -> Option<&String> {
        let flags = match self.program.as_ref()? {
            Program::Server(flags) | Program::Proxy(flags) => flags,
        };
        flags.get(flags.iter().position(|flag| flag.eq_ignore_ascii_case(name))? + 1)
    }
}

impl Player<'_, '_> {
    pub(super) fn server(
        &mut self,
        host: HostIndex,
        flags: &[Word],
        expect: &Expect,
    ) -> Result<(), Halt> {
        self.must_be(host, ServerState::Down, "no server running on this host")?;
        self.hosts[host].program = Some(Program::Server(self.fill_texts(flags)));
        self.launch(host)?;
        let Expect::Error(patterns) = expect else { return self.first_answer(host) };
        self.checks += 1;
        let expected = expect.show(&self.numbers);
        let patterns: Vec<Vec<u8>> = patterns.iter().map(|p| p.fill(&self.numbers)).collect();
        let until = self.stage.now() + PATIENCE;
        loop {
            if let Some(said) = self.stage.ended(host) {
                if patterns.iter().any(|pattern| like(said.as_bytes(), pattern)) {
                    return Ok(());
                }
                return Err(unmet(expected, said, &[host]));
            }
            if self.stage.now() >= until {
                return Err(unmet(expected, "the server goes on running".to_owned(), &[host]));
            }
            self.pass_until(self.stage.now() + ASK_AGAIN)?;
        }
    }

    pub(super) fn proxy(&mut self, host: HostIndex, words: &[Word]) -> Result<(), Halt> {
        self.must_be(host, ServerState::Down, "nothing running on this host")?;
        self.hosts[host].program = Some(Program::Proxy(self.fill_texts(words)));
        self.launch(host)?;
        self.first_answer(host)
    }

    pub(super) fn restart(&mut self, host: HostIndex) -> Result<(), Halt> {
        if self.hosts[host].program.is_none() {
            return self.must_be(host, ServerState::Up, "a server that was started before");
        }
        self.hosts[host].state = ServerState::Down;
        self.stage.kill(host).map_err(|t| trouble(t, &[host]))?;
        self.launch(host)?;
        self.first_answer(host)
    }

    /// Nothing is left of what a server has kept: it is another one when it starts again.
    pub(super) fn wipe(&mut self, host: HostIndex) -> Result<(), Halt> {
        if self.hosts[host].program.is_none() || self.hosts[host].is_proxy() {
            return self.must_be(host, ServerState::Up, "a server that was started before");
        }
        let dir = self.hosts[host].flag("--dir").map_or(DATA_DIR, String::as_str).to_owned();
        if Path::new(&dir).components().any(|part| !matches!(part, Component::Normal(_))) {
            let found = format!("a server whose data are in {dir}");
            let expected = "one whose data are in a directory of the host's own".to_owned();
            return Err(trouble(Trouble::BadLine { found, expected }, &[host]));
        }
        self.hosts[host].state = ServerState::Down;
        let wiped = self.stage.kill(host).and_then(|()| self.stage.wipe(host, &dir));
        wiped.map_err(|t| trouble(t, &[host]))
    }

    /// Starts the host's program.
    fn launch(&mut self, host: HostIndex) -> Result<(), Halt> {
        let launched = match self.hosts[host].program.clone() {
            Some(Program::Server(flags)) => self.stage.serve(host, &flags),
            Some(Program::Proxy(words)) => self.stage.proxy(host, &words),
            None => Ok(()),
        };
        launched.map_err(|t| trouble(t, &[host]))
    }

    /// Waits until a server that was just started answers at all, or a proxy takes a connection.
    fn first_answer(&mut self, host: HostIndex) -> Result<(), Halt> {
        self.hosts[host].state = ServerState::Up;
        let proxy = self.hosts[host].is_proxy();
        let mut client = self.new_client(&Who::Host(host));
        client.skip_auth();
        let until = self.stage.now() + PATIENCE;
        loop {
            let got = if proxy {
                client.open(self.stage, until).map_err(|t| trouble(t, &[host]))?.err()
            } else {
                let asked = client.ask(self.stage, &[b"PING".to_vec()], until);
                match asked.map_err(|t| trouble(t, &[host]))? {
                    Asked::Answer(_) => None,
                    Asked::Nothing(why) => Some(why),
                }
            };
            let Some(got) = got else {
                client.hang_up(self.stage);
                return Ok(());
            };
            self.servers_are_alive()?;
            if self.stage.now() >= until {
                let expected = if proxy { "a connection" } else { "an answer to PING" };
                return Err(unmet(expected.to_owned(), got, &[host]));
            }
            self.pass_until(self.stage.now() + ASK_AGAIN)?;
        }
    }

    /// A server that ended without being told to is a failure, whatever the line expects; but for one that has no
    /// memory left: a line has limited it.
    pub(super) fn servers_are_alive(&mut self) -> Result<(), Halt> {
        for host in 0..self.hosts.len() {
            if self.hosts[host].state != ServerState::Up {
                continue;
            }
            let Some(said) = self.stage.ended(host) else { continue };
            if self.stage.ran_out_of_memory(host) {
                self.hosts[host].state = ServerState::Down;
                continue;
            }
            let got = format!("the server has ended: {said}");
            let expected = "the server goes on running".to_owned();
            let (hosts, property) = (vec![host], Some(Property::NodeInvariant));
            return Err(Halt::Here(Why::Unmet { expected, got, hosts, property }));
        }
        Ok(())
    }

    /// Whether nothing runs on the host any more.
    pub(super) fn has_ended(&mut self, host: HostIndex) -> Result<Option<Unmet>, Halt> {
        self.servers_are_alive()?;
        let got = match self.hosts[host].state {
            ServerState::Down => return Ok(None),
            ServerState::Up => "it runs",
            ServerState::Paused => "it stands still",
        };
        let name = &self.scenario.hosts[host].name;
        let expected = format!("no process on {name} any more");
        Ok(Some(Unmet { expected, got: got.to_owned() }))
    }

    pub(super) fn must_be(
        &self,
        host: HostIndex,
        state: ServerState,
        expected: &str,
    ) -> Result<(), Halt> {
        let actual = self.hosts[host].state;
        if actual == state {
            return Ok(());
        }
        let name = &self.scenario.hosts[host].name;
        let found = match actual {
            ServerState::Down => format!("no running server on `{name}`"),
            ServerState::Up => format!("a running server on `{name}`"),
            ServerState::Paused => format!("a paused server on `{name}`"),
        };
        Err(trouble(Trouble::BadLine { found, expected: expected.to_owned() }, &[host]))
    }

    /// Hosts whose server runs and is not paused. A proxy has nothing of its own to show.
    pub(super) fn running(&self) -> Result<Vec<HostIndex>, Halt> {
        let up = |host: &HostIndex| {
            let host = &self.hosts[*host];
            host.state == ServerState::Up && !host.is_proxy()
        };
        let running: Vec<HostIndex> = (0..self.hosts.len()).filter(up).collect();
        if running.is_empty() {
            let found = "no running server".to_owned();
            let expected = "a running server somewhere".to_owned();
            return Err(trouble(Trouble::BadLine { found, expected }, &[]));
        }
        Ok(running)
    }

    pub(super) fn new_client(&self, who: &Who) -> Client {
        let host = &self.hosts[who.host()];
        let port = host.flag("--port").and_then(|p| p.parse().ok()).unwrap_or(6379);
        let noauth = matches!(who, Who::Named { name, .. } if self.noauth.contains(name));
        let password = self.password_of(who.host()).filter(|_| !noauth);
        Client::new(who.host(), port, password.cloned())
    }

    /// What a server wants to hear first, or the first server behind a proxy.
    fn password_of(&self, host: HostIndex) -> Option<&String> {
        let host = match self.hosts[host].flag("--server") {
            Some(server) if self.hosts[host].is_proxy() => {
                let name = server.split(':').next()?;
                let place = self.scenario.hosts.iter().position(|host| host.name == name)?;
                &self.hosts[place]
            }
            Some(_) | None => &self.hosts[host],
        };
        host.flag("--requirepass")
    }
}
