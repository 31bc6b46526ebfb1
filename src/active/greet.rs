//! Handshakes: AUTH and QUORATE PEER in RESP, then a hello from each side.

use std::net::IpAddr;

use bytes::{Buf, BytesMut};

use crate::base::fact::LogLevel;
use crate::base::ids::{ConnId, Epoch, Origin};
use crate::base::vector::Vector;
use crate::wire::frame::{Frame, FrameError, Hello, PEER_VERSION, Record, Refusal};

use super::dial::{Source, Trouble};
use super::inbound::Inbound;
use super::peer::{Greeting, Outbound, Peer, PeerNode, Side};
use super::{Active, Core};

/// Longest answer line a dialer reads.
const ANSWER_BYTES_MAX: usize = 4096;

/// Why QUORATE PEER was refused; the connection stays a client's.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum PeerError {
    /// Not `QUORATE PEER version`.
    Syntax,
    /// The other side speaks another version of the peer protocol.
    Version { theirs: u64 },
}

impl Active {
    /// What a dialer says first: AUTH if there is a password, and QUORATE PEER.
    pub(super) fn begin_greeting(&self, peer: &mut Peer) {
        let version = PEER_VERSION.to_string();
        let mut text = Vec::new();
        let password = self.config.masterauth.as_deref();
        if let Some(password) = password {
            match &self.config.masteruser {
                Some(user) => put_command(&mut text, &["AUTH", user, password]),
                None => put_command(&mut text, &["AUTH", password]),
            }
        } else if let Side::Greeting { stage, .. } = &mut peer.side {
            *stage = Greeting::Upgrading;
        }
        put_command(&mut text, &["QUORATE", "PEER", &version]);
        peer.send_text(&text);
    }

    /// Answers to AUTH and QUORATE PEER, a line each. True if one was taken.
    pub(super) fn on_greeting_bytes(
        &mut self,
        peer: &mut Peer,
        buf: &mut BytesMut,
        core: &mut Core<'_>,
    ) -> bool {
        let Side::Greeting { master, stage } = peer.side else { return false };
        let Some(end) = buf.windows(2).position(|pair| pair == b"\r\n") else {
            if buf.len() > ANSWER_BYTES_MAX {
                self.note_trouble(master, Trouble::Answer, core);
                peer.closing = true;
            }
            return false;
        };
        let line = buf.split_to(end);
        buf.advance(2);
        let trouble = match stage {
            Greeting::Authenticating if line.first() == Some(&b'+') => {
                peer.side = Side::Greeting { master, stage: Greeting::Upgrading };
                return true;
            }
            Greeting::Upgrading if line.starts_with(b"+PEER ") => {
                peer.side = Side::Greeting { master, stage: Greeting::Greeted };
                let hello = self.hello(core);
                peer.told_bound = hello.horizon_bound;
                peer.told_whole = hello.whole;
                peer.send(&Frame::Hello(Box::new(hello)));
                return true;
            }
            Greeting::Authenticating if line.starts_with(b"-ERR Client sent AUTH, but no") => {
                // The master asks for no password: nothing is wrong with that.
                peer.side = Side::Greeting { master, stage: Greeting::Upgrading };
                return true;
            }
            Greeting::Authenticating
                if line.starts_with(b"-ERR AUTH <password> called without") =>
            {
                peer.side = Side::Greeting { master, stage: Greeting::Upgrading };
                return true;
            }
            Greeting::Authenticating => Trouble::Password,
            Greeting::Upgrading if line.starts_with(b"-NOAUTH") => Trouble::Password,
            Greeting::Upgrading if line.starts_with(b"-ERR unknown command") => Trouble::NotQuorate,
            Greeting::Upgrading | Greeting::Greeted => Trouble::Answer,
        };
        if trouble == Trouble::Answer {
            let said = String::from_utf8_lossy(&line).into_owned();
            core.out.facts.log(LogLevel::Verbose, format!("the master answered: {said}"));
        }
        self.note_trouble(master, trouble, core);
        peer.closing = true;
        false
    }

    /// A session asked for QUORATE PEER; `args` is what follows these two words. On success the
    /// answer leaves with the next flush, and all further bytes belong to [`Active::on_bytes`].
    ///
    /// # Errors
    /// Wrong words or another protocol version; nothing has changed.
    pub fn accept_peer(
        &mut self,
        conn: ConnId,
        args: &[&[u8]],
        ip: IpAddr,
        core: &mut Core<'_>,
    ) -> Result<(), PeerError> {
        let [version] = args else { return Err(PeerError::Syntax) };
        let version = core::str::from_utf8(version).ok().and_then(|v| v.parse::<u64>().ok());
        match version {
            None => Err(PeerError::Syntax),
            Some(theirs) if theirs != u64::from(PEER_VERSION) => Err(PeerError::Version { theirs }),
            Some(_) => {
                let mut peer = Peer::new(conn, Side::Guest, core.now.mono);
                peer.ip = Some(ip);
                peer.send_text(format!("+PEER {PEER_VERSION}\r\n").as_bytes());
                self.peers.insert(Box::new(peer));
                Ok(())
            }
        }
    }

    fn hello(&mut self, core: &mut Core<'_>) -> Hello {
        self.promise(core);
        self.members.note_collected(core.store.collected());
        let plain = self.is_plain();
        let whole = plain && self.needs_whole;
        Hello {
            node: self.life.node,
            run: self.life.run,
            epoch: self.life.epoch,
            origin: core.clock.origin(),
            port: self.config.port,
            whole,
            brings: !plain,
            joining: !self.members.has_announced(),
            wall: self.skew.wall(core.now),
            clock: core.clock.last(),
            vector: if whole { Vector::new() } else { self.vector.clone() },
            strays: self.stray_origins(),
            horizon_bound: self.horizon_bound(core),
            horizon_needs: self.members.horizon_needs(self.horizon_bound(core)).to_vec(),
            holds: self.members.holds(),
            members: self.members.records().cloned().collect(),
        }
    }

    pub(super) fn on_hello(&mut self, peer: &mut Peer, hello: &Hello, core: &mut Core<'_>) {
        if peer.is_established() {
            let text = format!("{} said hello twice", self.name_of(peer));
            core.out.facts.log(LogLevel::Warning, text);
            peer.closing = true;
            return;
        }
        if self.met_nobody && self.is_origin_of_another(hello, core) {
            // Nobody has anything under it yet: this node gives way, and comes again.
            core.out.facts.sometimes("two nodes drew one origin");
            if let Some(next) = self.life.epoch.0.checked_add(1) {
                self.become_epoch(Epoch(next), core);
            }
            peer.closing = true;
            return;
        }
        if let Some(refusal) = self.refusal(peer, hello, core) {
            self.refuse(peer, hello, &refusal, core);
            return;
        }
        if self.drop_known(hello, core) && matches!(peer.side, Side::Greeting { .. }) {
            peer.closing = true;
            return;
        }
        // 1. What nobody has seen yet moves above what this peer's cluster may have collected or written.
        self.on_meeting(hello, core);
        self.compare_with_announced(hello, core);
        // 2. The peer is listed from here on: the own announcement stands still until all list it.
        for record in &hello.members {
            self.learn(record, core);
        }
        if !self.skew.knows(hello.node) {
            self.on_peer_wall(hello.node, hello.wall, core);
        }
        if !self.skew.is_too_far_ahead(core.now, ms_of(hello.clock)) {
            core.clock.observe(hello.clock);
        }
        // 3. Only now anything of the own data may leave, or of the peer's be taken: not if each has told
        //    the other that it knew no horizon, and this node has learned of one since.
        peer.is_ignorant = hello.joining && hello.horizon_bound == 0;
        let dialed = matches!(peer.side, Side::Greeting { .. });
        let told_nothing = dialed && peer.told_bound == 0;
        if peer.is_ignorant && told_nothing && self.horizon_bound(core) > 0 {
            core.out.facts.sometimes("a handshake was outdated by another");
            peer.closing = true;
            return;
        }
        peer.node = Some(PeerNode { node: hello.node, run: hello.run, origin: hello.origin });
        match peer.side {
            Side::Guest => {
                let mut answer = self.hello(core);
                answer.whole = false;
                answer.vector = self.members.outgoing(&self.vector).into_owned();
                peer.send(&Frame::Hello(Box::new(answer)));
                self.begin_stream(peer, hello, core);
            }
            Side::Greeting { master, .. } => {
                let whole = peer.told_whole;
                let differs = self.is_plain() && self.note_source(master, hello) && !whole;
                peer.side = Side::Master { master, inbound: Inbound::new(whole) };
                // An older connection to the same master ends here, with what it has not brought.
                self.on_master_established(master, peer.conn, hello.node, core);
                if !self.skew.knows(hello.node) {
                    // The older connection took what was known of the clock along.
                    self.on_peer_wall(hello.node, hello.wall, core);
                }
                if self.needs_whole && !whole && self.is_plain() {
                    // A link has ended since this node said what it wants.
                    core.out
                        .facts
                        .sometimes("a plain replica came to need everything in a handshake");
                    self.start_over(peer);
                } else if differs {
                    core.out.facts.sometimes("a plain replica's master had other data");
                    self.start_over(peer);
                }
                self.needs_whole = false;
                if self.is_log_older && !self.is_plain() {
                    self.start_over(peer);
                }
            }
            Side::Replica(_) | Side::Master { .. } => {}
        }
    }

    /// Whether this node's origin is another's who says hello or is known there.
    fn is_origin_of_another(&self, hello: &Hello, core: &Core<'_>) -> bool {
        let (me, origin) = (self.life.node, core.clock.origin());
        let known = |r: &Record| r.origin == origin && r.node != me;
        hello.node != me && (hello.origin == origin || hello.members.iter().any(known))
    }

    /// Why the handshake cannot go on, if so.
    fn refusal(&mut self, peer: &Peer, hello: &Hello, core: &mut Core<'_>) -> Option<Refusal> {
        if hello.node == self.life.node {
            let myself = hello.run == self.life.run;
            return Some(if myself { Refusal::Myself } else { Refusal::NodeIdInUse });
        }
        if self.has_live_other_run(peer, hello, core) {
            return Some(Refusal::NodeIdInUse);
        }
        if let Some(known) = self.members.get(hello.node) {
            let other_run = known.record.run != hello.run;
            if other_run && known.record.epoch >= hello.epoch {
                return Some(Refusal::EpochTaken { newest: known.record.epoch });
            }
        }
        let taken = self.members.owner(hello.origin).is_some_and(|owner| owner != hello.node)
            || hello.origin == core.clock.origin();
        if taken {
            core.out.facts.sometimes("two nodes drew one origin");
            return Some(Refusal::EpochTaken { newest: hello.epoch });
        }
        let foreign = !self.members.is_alone()
            && hello.members.len() > 1
            // Plain replicas take what they are given.
            && hello.members.iter().any(|r| r.brings)
            && hello
                .members
                .iter()
                .all(|r| !self.members.knows(r.node) && r.node != self.life.node)
            && self.members.horizon_bound().min(hello.horizon_bound) > 0;
        let moved = self.members.is_moved(hello, &self.vector, self.horizon_bound(core));
        (foreign || moved).then_some(Refusal::ForeignCluster)
    }

    /// Whether another process with the peer's node id is on a link that shows signs of life. Links of a past one
    /// are closed.
    fn has_live_other_run(&mut self, peer: &Peer, hello: &Hello, core: &mut Core<'_>) -> bool {
        let others: Vec<(ConnId, bool)> = self
            .peers
            .iter()
            .filter(|other| {
                other.conn != peer.conn
                    && other.node.is_some_and(|n| n.node == hello.node && n.run != hello.run)
            })
            .map(|other| {
                let silent = core.now.mono.since(other.last_heard);
                (other.conn, silent < self.config.limits.suspect_after)
            })
            .collect();
        if others.iter().any(|other| other.1) {
            return true;
        }
        for (conn, _) in others {
            core.out.facts.sometimes("links of a node's past life were closed");
            if let Some(mut other) = self.peers.remove(conn) {
                other.closing = true;
                self.put_back(other, core);
            }
        }
        false
    }

    fn refuse(&mut self, peer: &mut Peer, hello: &Hello, refusal: &Refusal, core: &mut Core<'_>) {
        let (name, why) = (self.name_of(peer), text_of(refusal));
        let text = format!("refusing {name} (node {}, port {}): {why}", hello.node, hello.port);
        core.out.facts.log(LogLevel::Warning, text);
        core.out.facts.sometimes("a handshake was refused");
        peer.send(&Frame::Refuse(refusal.clone()));
        if let Side::Greeting { master, .. } = peer.side {
            self.note_trouble(master, Trouble::Answer, core);
        }
        peer.closing = true;
    }

    pub(super) fn on_refused(&mut self, peer: &mut Peer, why: &Refusal, core: &mut Core<'_>) {
        let text = format!("{} refused the link: {}", self.name_of(peer), text_of(why));
        core.out.facts.log(LogLevel::Warning, text);
        if let Refusal::EpochTaken { newest } = why
            && *newest >= self.life.epoch
            && let Some(next) = newest.0.checked_add(1)
        {
            core.out.facts.sometimes("a new epoch began, because the old one was taken");
            self.members.distrust_past();
            self.become_epoch(Epoch(next), core);
        }
        if let Side::Greeting { master, .. } = peer.side {
            self.note_trouble(master, Trouble::Answer, core);
        }
        peer.closing = true;
    }

    pub(super) fn on_frame_error(
        &mut self,
        peer: &mut Peer,
        error: FrameError,
        core: &mut Core<'_>,
    ) {
        core.out.facts.sometimes("a peer sent bytes that are no frame");
        let refusal = match error {
            FrameError::Version(_) => Refusal::Version { ours: PEER_VERSION },
            FrameError::TooLong { .. } | FrameError::UnknownType(_) | FrameError::Malformed => {
                Refusal::Malformed
            }
        };
        let text = match error {
            FrameError::Version(theirs) => format!(
                "speaks version {theirs} of the peer protocol, this server speaks {PEER_VERSION}"
            ),
            FrameError::TooLong { bytes, max } => {
                format!("sent a frame of {bytes} bytes, the limit is 1..={max}")
            }
            FrameError::UnknownType(byte) => format!("sent a frame of unknown type {byte}"),
            FrameError::Malformed => "sent a malformed frame".to_owned(),
        };
        core.out.facts.log(LogLevel::Warning, format!("{} {text}", self.name_of(peer)));
        peer.send(&Frame::Refuse(refusal));
        if let Side::Greeting { master, .. } = peer.side {
            self.note_trouble(master, Trouble::Answer, core);
        }
        peer.closing = true;
    }

    /// Whether the replica has everything up to where traces have been collected. If not, the log may
    /// hold writes whose newer flush, delete or expiry neither it nor the data holds any more. No horizon
    /// waits for one that is joining: there it counts how far anybody may have collected.
    fn covers_collected(&self, hello: &Hello, core: &Core<'_>) -> bool {
        let known = self.horizon_known(core);
        let bound = if hello.joining { self.members.horizon_bound() } else { 0 };
        self.covers(hello, known.max(bound), |_| true)
    }

    /// Whether the replica has everything of these origins up to `horizon` that this node has.
    fn covers(&self, hello: &Hello, horizon: u64, of: impl Fn(Origin) -> bool) -> bool {
        let own = self.members.outgoing(&self.vector);
        own.iter()
            .all(|(origin, time)| hello.vector.get(origin) >= time.min(horizon) || !of(origin))
    }

    /// Whether a master's data are others than this plain replica holds: it is new here, or has dropped them since
    /// the last handshake, and lacks some of what is here. (One that was started anew gets its own back;
    /// and of several behind a proxy one may lag behind the other.)
    fn note_source(&mut self, master: u64, hello: &Hello) -> bool {
        let has_all = hello.vector.covers_all(&self.members.outgoing(&self.vector));
        let Some(master) = self.master_mut(master) else { return false };
        let comparable = match master.source {
            Source::None => true,
            Source::Process(run) => run == hello.run,
            Source::Several => false,
        };
        let differs = comparable && !has_all;
        master.source =
            if has_all || differs { Source::Process(hello.run) } else { Source::Several };
        differs
    }

    fn begin_stream(&mut self, peer: &mut Peer, hello: &Hello, core: &mut Core<'_>) {
        let covers_collected = self.covers_collected(hello, core);
        let mut outbound = Outbound::new(hello, self.log.end());
        // 1. Nobody waits for a plain replica that is gone, nor for more than what a node has announced, though its log may
        //    have been damaged since, or an older image of it brought back.
        // 2. What it has read may have been deleted meanwhile, and the trace of that be collected here.
        // 3. So it is sent everything: what this node has seen and does not send is gone.
        // (A life that a master knows nothing of has begun later, as far as one can tell here.)
        let knows = |origin| !hello.brings || hello.vector.get(origin) > 0;
        if !hello.whole && !self.covers(hello, self.horizon_known(core), knows) {
            core.out.facts.sometimes("a replica did not have what had been collected");
            outbound.replace_all();
        }
        let whole = outbound.whole;
        peer.side = Side::Replica(outbound);
        let covered = hello.vector.covers_all(self.log.start()) && covers_collected;
        core.out.facts.log(LogLevel::Notice, format!("Replica {} attached", hello.node));
        self.start_stream(peer, whole || !covered, core);
    }
}

fn ms_of(time: u64) -> crate::base::time::UnixMs {
    crate::base::stamp::Stamp::new(time, crate::base::ids::Origin(0)).ms()
}

fn text_of(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Version { ours } => format!("the peer protocol's version differs ({ours} there)"),
        Refusal::Myself => "replicaof names this very server".to_owned(),
        Refusal::NodeIdInUse => {
            "two live processes present one node id (copied data directory?)".to_owned()
        }
        Refusal::EpochTaken { newest } => {
            format!("the epoch or origin is taken; epoch {} is known", newest.0)
        }
        Refusal::ForeignCluster => {
            "the data here and there are of two clusters that have each forgotten deletes: a dump of one goes into \
             the other once redis-server has loaded and saved it"
                .to_owned()
        }
        Refusal::Malformed => "a frame could not be read".to_owned(),
    }
}

fn put_command(out: &mut Vec<u8>, words: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}
