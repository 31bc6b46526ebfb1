//! The same three nodes in turmoil: datagrams that are passed on, as soon as its clock lets them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use turmoil::net::UdpSocket;
use turmoil::{Builder, Result};

const PORT: u16 = 7000;
const NAMES: [&str; 3] = ["node0", "node1", "node2"];
/// Its clock goes on by so much at a time, and a message takes no longer.
const TICK: Duration = Duration::from_millis(1);

/// So many messages under way until about so many deliveries; how many there were.
pub fn play(seed: u64, tokens: usize, deliveries: usize) -> u64 {
    let mut sim = Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .min_message_latency(Duration::ZERO)
        .max_message_latency(TICK)
        .udp_capacity(4 * tokens)
        .simulation_duration(Duration::from_secs(1 << 20))
        .build();
    for (at, name) in NAMES.iter().enumerate().skip(1) {
        sim.host(*name, move || pass_on(at, 0, usize::MAX));
    }
    let share = deliveries / NAMES.len();
    sim.client(NAMES[0], pass_on(0, tokens, share));
    sim.run().expect("nothing goes wrong");
    (share * NAMES.len()) as u64
}

/// Sends `tokens`, then passes on what comes until it was as much as `share`.
async fn pass_on(at: usize, tokens: usize, share: usize) -> Result {
    let socket = UdpSocket::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    let next = (turmoil::lookup(NAMES[(at + 1) % NAMES.len()]), PORT);
    let mut message = [0u8; 100];
    for _ in 0..tokens {
        socket.send_to(&message, next).await?;
    }
    for _ in 0..share {
        let (bytes, _) = socket.recv_from(&mut message).await?;
        socket.send_to(&message[..bytes], next).await?;
    }
    Ok(())
}
