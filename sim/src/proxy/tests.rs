//! A proxy in a world, before servers that say who they are.

use std::net::Ipv4Addr;

use bytes::{Bytes, BytesMut};
use quorate::base::ids::ConnId;
use quorate::base::io::{CloseReason, Effect, Effects, Input};
use quorate::base::time::{Mono, Now, Span};
use quorate::node::config::Identity;

use super::ProxyConfig;
use crate::decide::Decisions;
use crate::machine::Machine;
use crate::time::Time;
use crate::world::{Blind, ClientConn, ClientState, HostId, World, WorldConfig};

/// Answers PING, and its own number to everything else that ends a line; `BIG` is answered with a lot.
struct Named {
    number: u8,
    connected: u32,
}

const BIG_BYTES: usize = 1 << 20;

impl Machine for Named {
    type Config = u8;

    fn boot(number: &u8, _identity: Identity, _seed: u64, _now: Now) -> Named {
        Named { number: *number, connected: 0 }
    }

    fn port(_config: &u8) -> u16 {
        6379
    }

    fn handle(&mut self, _now: Now, input: Input<'_>, out: &mut Effects) {
        match input {
            Input::Opened { .. } => self.connected += 1,
            Input::Bytes { conn, buf } => self.answer(conn, buf, out),
            Input::DialFailed { .. }
            | Input::Refused
            | Input::Drained { .. }
            | Input::Closed { .. }
            | Input::Host(_)
            | Input::Shutdown { .. }
            | Input::PastStored { .. }
            | Input::Synced { .. }
            | Input::DiskFailed { .. }
            | Input::DiskRoom
            | Input::Snap(_)
            | Input::Dump(_)
            | Input::Recover(_)
            | Input::Timeout => {}
        }
    }

    fn flush(&mut self, _now: Now, _out: &mut Effects) {}

    fn poll_timeout(&self) -> Option<Mono> {
        None
    }
}

impl Named {
    fn answer(&mut self, conn: ConnId, buf: &mut BytesMut, out: &mut Effects) {
        while let Some(end) = buf.iter().position(|b| *b == b'\n') {
            let line = buf.split_to(end + 1);
            let bytes = match &line[..] {
                b"PING\r\n" => Bytes::from_static(b"+PONG\r\n"),
                b"BIG\n" => Bytes::from(vec![b'x'; BIG_BYTES]),
                _ => Bytes::from(format!("{}\n", self.number)),
            };
            out.push(Effect::Send { conn, bytes });
        }
    }
}

/// Three servers, and a proxy before them.
struct Bench {
    world: World<Named>,
    servers: Vec<HostId>,
    proxy: HostId,
}

impl Bench {
    fn new(seed: u64, words: &str) -> Bench {
        let mut world = World::new(WorldConfig::default(), Decisions::from_seed(seed));
        let ip = |last| Ipv4Addr::new(10, 0, 0, last);
        let mut servers = Vec::new();
        for number in 1..=3 {
            servers.push(world.add_host(&format!("s{number}"), ip(number)));
            world.start(servers[usize::from(number) - 1], number);
        }
        let proxy = world.add_host("proxy", ip(9));
        let words = format!("--server s1:6379 --server s2:6379 --server s3:6379 {words}");
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        world.start_proxy(proxy, ProxyConfig::from_words(&words).unwrap());
        let mut bench = Bench { world, servers, proxy };
        bench.run(Span::from_ms(100));
        bench
    }

    fn run(&mut self, span: Span) {
        let until = self.world.now() + span;
        self.world.run_until(until, &mut Blind);
    }

    fn connect(&mut self) -> ClientConn {
        let client = self.world.client_connect(self.proxy, Ipv4Addr::LOCALHOST, 6379);
        self.run(Span::from_ms(20));
        client
    }

    fn ask(&mut self, conn: ClientConn, line: &'static str) -> Vec<u8> {
        self.world.client_send(conn, Bytes::from_static(line.as_bytes()));
        self.run(Span::from_ms(200));
        let answer = self.world.client_buf(conn).to_vec();
        self.world.client_buf(conn).clear();
        answer
    }

    /// Which server a new connection comes to; 0 if to none.
    fn who(&mut self) -> u8 {
        let conn = self.connect();
        let answer = self.ask(conn, "WHO\n");
        self.world.client_close(conn);
        answer.first().map_or(0, |digit| digit - b'0')
    }

    fn whos(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.who()).collect()
    }

    fn healthy(&self) -> Vec<bool> {
        self.world.host(self.proxy).proxy().unwrap().healthy()
    }
}

#[test]
fn connections_go_to_each_server_in_turn_or_to_the_first() {
    let mut bench = Bench::new(1, "--balance roundrobin");
    assert_eq!(bench.whos(6), [1, 2, 3, 1, 2, 3]);
    let mut bench = Bench::new(1, "--balance first");
    assert_eq!(bench.whos(3), [1, 1, 1]);
}

#[test]
fn a_connection_stays_with_its_server_and_carries_everything_in_order() {
    for seed in 0..10 {
        let mut bench = Bench::new(seed, "");
        let conn = bench.connect();
        for _ in 0..5 {
            assert_eq!(bench.ask(conn, "WHO\n"), b"1\n");
        }
        bench.world.client_send(conn, Bytes::from_static(b"BIG\nWHO\n"));
        bench.run(Span::from_secs(2));
        let got = bench.world.client_buf(conn).to_vec();
        assert_eq!(got.len(), BIG_BYTES + 2);
        assert!(got.ends_with(b"x1\n"));
    }
}

#[test]
fn a_server_that_dies_is_left_out_and_comes_back() {
    let mut bench = Bench::new(2, "--inter 100ms --rise 2 --fall 2");
    let conn = bench.connect();
    bench.world.kill(bench.servers[0]);
    bench.run(Span::from_ms(50));
    assert_eq!(bench.world.client_state(conn), ClientState::Closed(CloseReason::EndOfStream));
    // Refused connections go to the next server at once, before any check has told.
    let whos = bench.whos(4);
    assert!(whos.iter().all(|who| [2, 3].contains(who)), "{whos:?}");
    assert_eq!(bench.healthy(), [false, true, true]);
    bench.world.start(bench.servers[0], 1);
    bench.run(Span::from_ms(500));
    assert_eq!(bench.healthy(), [true; 3]);
    let whos = bench.whos(3);
    assert!(whos.contains(&1), "{whos:?}");
}

#[test]
fn a_server_that_stands_still_is_noticed_although_its_kernel_takes_connections() {
    let mut bench = Bench::new(3, "--balance first --inter 200ms --fall 3");
    bench.world.pause(bench.servers[0]);
    bench.run(Span::from_ms(300));
    assert_eq!(bench.healthy(), [true; 3], "three checks must fail");
    bench.run(Span::from_ms(700));
    assert_eq!(bench.healthy(), [false, true, true]);
    assert_eq!(bench.who(), 2);
    bench.world.resume(bench.servers[0]);
    bench.run(Span::from_ms(700));
    assert_eq!(bench.who(), 1);
}

#[test]
fn without_any_healthy_server_clients_are_sent_away() {
    let mut bench = Bench::new(4, "--inter 100ms --fall 1");
    for server in bench.servers.clone() {
        bench.world.kill(server);
    }
    bench.run(Span::from_ms(300));
    assert_eq!(bench.healthy(), [false; 3]);
    let conn = bench.connect();
    let state = bench.world.client_state(conn);
    assert!(matches!(state, ClientState::Closed(_)), "{state:?}");
}

#[test]
fn a_client_that_leaves_while_its_server_is_dialled_leaves_nothing_behind() {
    let mut bench = Bench::new(5, "--balance first --inter 60s");
    bench.world.iptables(bench.servers[0], "-A INPUT -s proxy -j DROP").unwrap();
    let conn = bench.connect();
    bench.world.client_close(conn);
    bench.run(Span::from_secs(5));
    bench.world.iptables(bench.servers[0], "-F").unwrap();
    bench.run(Span::from_secs(20));
    // The check at the start, and what was under way for the client.
    assert_eq!(bench.world.machine(bench.servers[0]).unwrap().connected, 2);
    assert_eq!(bench.world.endpoints(), 0);
    assert_eq!(bench.who(), 1);
}

#[test]
fn a_slow_reader_holds_up_its_server_and_nobody_else() {
    let mut bench = Bench::new(6, "--balance first");
    let slow = bench.connect();
    // The client's own firewall takes nothing in any more, from the proxy's port.
    bench.world.iptables(bench.proxy, "-A OUTPUT -o lo -p tcp --sport 6379 -j DROP").unwrap();
    bench.world.client_send(slow, Bytes::from_static(b"BIG\nBIG\nBIG\nBIG\nBIG\nBIG\nBIG\nBIG\n"));
    bench.run(Span::from_secs(3));
    assert_eq!(bench.world.client_buf(slow).len(), 0);
    bench.world.iptables(bench.proxy, "-F").unwrap();
    assert_eq!(bench.who(), 1);
    bench.run(Span::from_secs(30));
    assert_eq!(bench.world.client_buf(slow).len(), 8 * BIG_BYTES);
    assert!(bench.world.now() > Time::from_secs(30));
}
