//! Clients' connections: the same endpoints over the same network, owned by whoever drives the world.

use std::fmt;
use std::net::Ipv4Addr;

use bytes::{Bytes, BytesMut};
use quorate::base::io::{CloseReason, DialError};

use crate::ids::{ClientConn, HostId};
use crate::machine::Machine;
use crate::tcp::{Owner, SockRef};

use super::{ClientEvent, Notice, World};

/// How a client's connection stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ClientState {
    Connecting,
    Open,
    Failed(DialError),
    Closed(CloseReason),
}

#[derive(Debug)]
pub(super) struct Client {
    sock: SockRef,
    state: ClientState,
    buf: BytesMut,
    /// Sent before the connection was open.
    early: Vec<Bytes>,
    reads_paused: bool,
}

impl<M: Machine> World<M> {
    /// Begins to connect from a host to an address. A client on the server's own host uses the host's
    /// address or 127.0.0.1: both pass the host's INPUT and OUTPUT by `lo`, and nobody else's.
    pub fn client_connect(&mut self, from: HostId, to: Ipv4Addr, port: u16) -> ClientConn {
        let conn = ClientConn(self.clients.len() as u32);
        self.clients.push(Client {
            sock: SockRef::NONE,
            state: ClientState::Connecting,
            buf: BytesMut::new(),
            early: Vec::new(),
            reads_paused: false,
        });
        self.digest.word(1 << 60 | u64::from(conn.0));
        if self.hosts[from.index()].powered {
            let sock = self.connect(from, Owner::Client(conn), to, port);
            self.clients[conn.0 as usize].sock = sock;
            self.tape_client(conn, sock);
        } else {
            self.client_failed(conn, DialError::Other);
        }
        conn
    }

    /// Sends bytes; before the connection is open they wait for it. Ignored once it is closed.
    pub fn client_send(&mut self, conn: ClientConn, bytes: Bytes) {
        self.tape(|tape, now| tape.client_sends(now, conn, &bytes));
        let client = &mut self.clients[conn.0 as usize];
        match client.state {
            ClientState::Connecting => client.early.push(bytes),
            ClientState::Open => {
                let at = client.sock;
                if let Some(sock) = self.socks.get_mut(at) {
                    sock.push(bytes);
                    self.pump(at);
                }
            }
            ClientState::Failed(_) | ClientState::Closed(_) => {}
        }
    }

    /// What has arrived and was not taken; stays readable after the end of the connection.
    pub fn client_buf(&mut self, conn: ClientConn) -> &mut BytesMut {
        &mut self.clients[conn.0 as usize].buf
    }

    pub fn client_state(&self, conn: ClientConn) -> ClientState {
        self.clients[conn.0 as usize].state
    }

    /// Closes: what was sent still leaves; what arrives later is answered with a reset. No notice.
    pub fn client_close(&mut self, conn: ClientConn) {
        if let Some(sock) = self.client_ended(conn) {
            self.close(sock);
        }
    }

    /// Closes with a reset, as a client does that gives up on a reply it no longer wants to read.
    pub fn client_abort(&mut self, conn: ClientConn) {
        if let Some(sock) = self.client_ended(conn) {
            self.abort(sock);
        }
    }

    /// A slow reader: while paused, what arrives fills the kernel's buffer and then the sender's.
    pub fn client_pause_reads(&mut self, conn: ClientConn, paused: bool) {
        self.clients[conn.0 as usize].reads_paused = paused;
        if !paused {
            self.client_readable(conn);
        }
    }

    /// The connection's local port, while it lasts: what `CLIENT LIST` and a firewall see.
    pub fn client_port(&self, conn: ClientConn) -> Option<u16> {
        self.socks.get(self.clients[conn.0 as usize].sock).map(|sock| sock.local_port)
    }

    /// Whose a connection is, for the tape.
    pub fn client_is(&mut self, conn: ClientConn, who: &dyn fmt::Display) {
        self.tape(|tape, _| tape.client_is(conn, who.to_string()));
    }

    fn client_ended(&mut self, conn: ClientConn) -> Option<SockRef> {
        let client = &mut self.clients[conn.0 as usize];
        match client.state {
            ClientState::Connecting | ClientState::Open => {
                client.state = ClientState::Closed(CloseReason::Asked);
                let sock = client.sock;
                self.tape(|tape, now| tape.client_gone(now, conn, "the client gave up"));
                Some(sock)
            }
            ClientState::Failed(_) | ClientState::Closed(_) => None,
        }
    }

    pub(super) fn client_opened(&mut self, conn: ClientConn) {
        let client = &mut self.clients[conn.0 as usize];
        client.state = ClientState::Open;
        let (at, early) = (client.sock, std::mem::take(&mut client.early));
        self.notify(conn, ClientEvent::Connected);
        if let Some(sock) = self.socks.get_mut(at) {
            for bytes in early {
                sock.push(bytes);
            }
            self.pump(at);
        }
    }

    pub(super) fn client_failed(&mut self, conn: ClientConn, why: DialError) {
        self.clients[conn.0 as usize].state = ClientState::Failed(why);
        self.tape(|tape, now| tape.client_gone(now, conn, &format!("could not connect: {why:?}")));
        self.notify(conn, ClientEvent::Failed(why));
    }

    pub(super) fn client_readable(&mut self, conn: ClientConn) {
        let client = &mut self.clients[conn.0 as usize];
        let at = client.sock;
        let Some(sock) = self.socks.get_mut(at) else {
            return;
        };
        if client.reads_paused || sock.owner != Owner::Client(conn) {
            return;
        }
        if sock.unread > 0 {
            sock.unread = 0;
            if let Some(recorder) = &self.tape {
                recorder.with(|tape| tape.client_gets(self.now, conn, &sock.buf));
            }
            if client.buf.is_empty() {
                std::mem::swap(&mut client.buf, &mut sock.buf);
                sock.buf.clear();
            } else {
                client.buf.extend_from_slice(&sock.buf);
                sock.buf.clear();
            }
            let reopened = sock.window_reopened(&self.hosts[sock.host.index()].tcp);
            let ended = sock.at_end();
            let readable = Notice::Client { conn, event: ClientEvent::Readable };
            if self.notices.back() != Some(&readable) {
                self.notices.push_back(readable);
            }
            if reopened {
                self.with_sock(at, |sock, _, config, out| sock.acknowledge(config, out));
            }
            if !ended {
                return;
            }
        }
        let Some(sock) = self.socks.get_mut(at) else {
            return;
        };
        if sock.at_end() {
            sock.owner = Owner::Nobody;
            sock.finish();
            self.clients[conn.0 as usize].state = ClientState::Closed(CloseReason::EndOfStream);
            let why = "the server closed the connection";
            self.tape(|tape, now| tape.client_gone(now, conn, why));
            self.notify(conn, ClientEvent::Closed(CloseReason::EndOfStream));
            self.pump(at);
        }
    }

    /// Resets and timeouts.
    pub(super) fn client_lost(&mut self, conn: ClientConn, why: CloseReason) {
        self.clients[conn.0 as usize].state = ClientState::Closed(why);
        self.tape(|tape, now| {
            tape.client_gone(now, conn, &format!("the connection was lost: {why:?}"));
        });
        self.notify(conn, ClientEvent::Closed(why));
    }

    fn notify(&mut self, conn: ClientConn, event: ClientEvent) {
        self.notices.push_back(Notice::Client { conn, event });
    }
}
