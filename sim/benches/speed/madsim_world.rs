//! The same three nodes in madsim: datagrams that are passed on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use madsim::net::Endpoint;
use madsim::runtime::Runtime;

const PORT: u16 = 7000;
const NODES: u8 = 3;
const TAG: u64 = 1;

fn address(node: u8) -> SocketAddr {
    (IpAddr::from(Ipv4Addr::new(10, 0, 0, node % NODES + 1)), PORT).into()
}

/// So many messages under way until about so many deliveries; how many there were.
pub fn play(seed: u64, tokens: usize, deliveries: usize) -> u64 {
    let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    let share = deliveries / usize::from(NODES);
    runtime.block_on(async move {
        let handle = madsim::runtime::Handle::current();
        let node = |at: u8| handle.create_node().ip(address(at).ip()).build();
        for at in 1..NODES {
            node(at).spawn(pass_on(at, 0, usize::MAX));
        }
        node(0).spawn(pass_on(0, tokens, share)).await.expect("nothing goes wrong");
    });
    (share * usize::from(NODES)) as u64
}

/// Sends `tokens`, then passes on what comes until it was as much as `share`.
async fn pass_on(at: u8, tokens: usize, share: usize) {
    let endpoint = Endpoint::bind(address(at)).await.expect("the address is free");
    // The others have to be there.
    madsim::time::sleep(std::time::Duration::from_millis(1)).await;
    let mut message = [0u8; 100];
    for _ in 0..tokens {
        endpoint.send_to(address(at + 1), TAG, &message).await.expect("an address");
    }
    for _ in 0..share {
        let (bytes, _) = endpoint.recv_from(TAG, &mut message).await.expect("it stays open");
        endpoint.send_to(address(at + 1), TAG, &message[..bytes]).await.expect("an address");
    }
}
