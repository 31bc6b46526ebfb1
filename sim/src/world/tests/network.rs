//! Streams over links and through firewalls.

use bytes::Bytes;
use quorate::base::io::CloseReason;
use quorate::base::time::Span;

use crate::world::ClientState;

use super::kit::{connect, echo, ip, run, world};

#[test]
fn client_gets_its_bytes_back() {
    for seed in 0..50 {
        let (mut world, hosts) = world(seed, 2);
        world.start(hosts[1], echo());
        let conn = connect(&mut world, hosts[0], ip(3));
        assert_eq!(world.client_state(conn), ClientState::Open);
        let text: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        world.client_send(conn, Bytes::from(text.clone()));
        run(&mut world, Span::from_secs(1));
        assert!(world.client_buf(conn)[..] == text[..], "seed {seed}");
        world.client_send(conn, Bytes::from_static(b"close"));
        run(&mut world, Span::from_secs(1));
        assert!(world.client_buf(conn).ends_with(b"bye"), "seed {seed}");
        let closed = ClientState::Closed(CloseReason::EndOfStream);
        assert_eq!(world.client_state(conn), closed);
    }
}
