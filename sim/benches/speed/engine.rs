//! The engine alone: event queue, links, choices and digest, and nodes that pass on what they get.

use quorate::base::time::Span;
use quorate_sim::decide::Decisions;
use quorate_sim::digest::Digest;
use quorate_sim::link::{LinkConfig, Links, Passage};
use quorate_sim::queue::Queue;
use quorate_sim::time::Time;

const MESSAGE_BYTES: usize = 100;

struct Message {
    from: usize,
    to: usize,
    number: u64,
}

/// A node that knows its successor and counts.
struct Node {
    next: usize,
    got: u64,
}

struct Engine {
    queue: Queue<Message>,
    links: Links,
    decisions: Decisions,
    digest: Digest,
    nodes: Vec<Node>,
}

impl Engine {
    fn new(seed: u64, nodes: usize) -> Engine {
        let mut links = Links::new(LinkConfig::lan());
        links.grow(nodes);
        Engine {
            queue: Queue::new(),
            links,
            decisions: Decisions::from_seed(seed),
            digest: Digest::new(),
            nodes: (0..nodes).map(|node| Node { next: (node + 1) % nodes, got: 0 }).collect(),
        }
    }

    fn send(&mut self, now: Time, message: Message) {
        let link = self.links.get(message.from, message.to);
        match link.pass(now, MESSAGE_BYTES, &mut self.decisions) {
            Passage::Arrives { at, .. } => self.queue.push(at, message),
            Passage::Lost => {}
        }
    }

    fn run(&mut self, tokens: usize, deliveries: usize) {
        for token in 0..tokens {
            let from = token % self.nodes.len();
            let to = self.nodes[from].next;
            self.send(Time::ZERO + Span(1), Message { from, to, number: token as u64 });
        }
        for _ in 0..deliveries {
            let Some((now, message)) = self.queue.pop_until(Time::NEVER) else { return };
            self.digest.word(now.0);
            self.digest.word((message.from as u64) << 32 | message.to as u64);
            self.digest.word(message.number);
            let node = &mut self.nodes[message.to];
            node.got += 1;
            let (from, to) = (message.to, node.next);
            self.send(now, Message { from, to, number: message.number });
        }
    }
}

/// A world of `nodes` with so many messages under way; how many were delivered.
pub fn play(seed: u64, nodes: usize, tokens: usize, deliveries: usize) -> u64 {
    let mut engine = Engine::new(seed, nodes);
    engine.run(tokens, deliveries);
    std::hint::black_box(engine.digest.value());
    engine.nodes.iter().map(|node| node.got).sum()
}

/// One world: 1.
pub fn tiny(seed: u64, nodes: usize, tokens: usize, deliveries: usize) -> u64 {
    u64::from(play(seed, nodes, tokens, deliveries) == deliveries as u64)
}
