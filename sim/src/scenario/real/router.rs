//! A router in user space, for what the kernel cannot do here: latency. Every host's `eth0` is a TUN device
//! then; one thread takes each packet from the sender's, lets the very link model of the simulated world say
//! when it arrives, and gives it to the receiver's. Loss and bandwidth stay the kernel's own.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use quorate::base::time::Span;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::super::ast::HostIndex;
use super::super::quality::LinkQuality;
use crate::decide::Decisions;
use crate::link::{LinkConfig, Links, Passage};
use crate::time::Time;

/// How often the thread looks whether it is to stop.
const NAP_MAX: Duration = Duration::from_millis(20);

/// Packets taken from one device before the others have their turn.
const TURN_PACKETS: usize = 64;

/// The largest IPv4 packet.
const PACKET_BYTES_MAX: usize = 65_535;

/// What every link is like until a line says something else: the way through the router alone.
const PLAIN: LinkConfig = LinkConfig::of_latency(Span(0), Span(0));

/// The running router. Dropping it stops the thread and closes the devices.
pub struct Router {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    links: Mutex<Links>,
    stop: AtomicBool,
    began: Instant,
}

/// What the thread has to itself.
struct Worker {
    shared: Arc<Shared>,
    devices: Vec<SyncDevice>,
    addresses: Vec<Ipv4Addr>,
    /// Packets under way, by arrival and the order in which they were sent: receiver and bytes.
    waiting: BTreeMap<(Time, u64), (HostIndex, Vec<u8>)>,
    sent: u64,
    decisions: Decisions,
}

/// Makes the TUN device `eth0` in the namespace of the calling thread.
///
/// # Errors
/// What the kernel says.
pub fn device() -> std::io::Result<SyncDevice> {
    let device = DeviceBuilder::new().name("eth0").build_sync()?;
    device.set_nonblocking(true)?;
    Ok(device)
}

impl Router {
    /// Begins to carry packets between these devices, each the one of the host with this address.
    pub fn start(hosts: Vec<(Ipv4Addr, SyncDevice)>, seed: u64) -> Router {
        let mut links = Links::new(PLAIN);
        links.grow(hosts.len());
        let (links, stop) = (Mutex::new(links), AtomicBool::new(false));
        let shared = Arc::new(Shared { links, stop, began: Instant::now() });
        let (addresses, devices) = hosts.into_iter().unzip();
        let worker = Worker {
            shared: shared.clone(),
            devices,
            addresses,
            waiting: BTreeMap::new(),
            sent: 0,
            decisions: Decisions::from_seed(seed),
        };
        let thread = Some(std::thread::spawn(move || worker.run()));
        Router { shared, thread }
    }

    /// Changes when packets from one host to another arrive. Packets under way stay under way.
    pub fn change(&self, from: HostIndex, to: HostIndex, quality: LinkQuality) {
        quality.delay(self.shared.links().get(from, to), self.shared.now());
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _a_panic_was_printed = thread.join();
        }
    }
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Worker {
    fn run(mut self) {
        let mut buf = vec![0; PACKET_BYTES_MAX];
        while !self.shared.stop.load(Ordering::SeqCst) {
            self.deliver();
            for from in self.readable() {
                self.take(from, &mut buf);
            }
        }
    }

    /// Gives receivers what has arrived by now.
    fn deliver(&mut self) {
        while self.waiting.first_key_value().is_some_and(|((at, _), _)| *at <= self.shared.now()) {
            let Some((_, (to, packet))) = self.waiting.pop_first() else { return };
            // A receiver that cannot take it loses it, as a full queue does.
            let _lost = self.devices[to].send(&packet);
        }
    }

    /// Waits until a packet is there or one is due; the hosts that have sent something.
    fn readable(&self) -> Vec<HostIndex> {
        let due = self.waiting.first_key_value().map(|((at, _), _)| at.since(self.shared.now()).0);
        let nap = due.map_or(NAP_MAX, |ns| Duration::from_nanos(ns).min(NAP_MAX));
        let watch = |device| PollFd::new(device, PollFlags::POLLIN);
        let mut watched: Vec<PollFd<'_>> =
            self.devices.iter().map(std::os::fd::AsFd::as_fd).map(watch).collect();
        if ppoll(&mut watched, Some(TimeSpec::from_duration(nap)), None).is_err() {
            return Vec::new();
        }
        let ready = watched.iter().enumerate().filter(|(_, fd)| fd.any().unwrap_or(false));
        ready.map(|(host, _)| host).collect()
    }

    fn take(&mut self, from: HostIndex, buf: &mut [u8]) {
        for _ in 0..TURN_PACKETS {
            match self.devices[from].recv(buf) {
                Ok(length) => self.pass(from, &buf[..length]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn pass(&mut self, from: HostIndex, packet: &[u8]) {
        let Some(to) = destination(packet) else { return };
        let Some(to) = self.addresses.iter().position(|address| *address == to) else { return };
        let now = self.shared.now();
        let passage =
            self.shared.links().get(from, to).pass(now, packet.len(), &mut self.decisions);
        if let Passage::Arrives { at, .. } = passage {
            self.sent += 1;
            self.waiting.insert((at, self.sent), (to, packet.to_vec()));
        }
    }
}

/// Where an IPv4 packet is bound for. Everything else, such as the kernel's search for IPv6 routers, has no
/// place to go.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let version = packet.first()? >> 4;
    let address: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    (version == 4).then(|| Ipv4Addr::from(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ipv4_packets_have_a_destination() {
        let mut packet = [0; 20];
        packet[0] = 0x45;
        packet[16..20].copy_from_slice(&[10, 0, 0, 7]);
        assert_eq!(destination(&packet), Some(Ipv4Addr::new(10, 0, 0, 7)));
        assert_eq!(destination(&packet[..19]), None);
        packet[0] = 0x60;
        assert_eq!(destination(&packet), None);
        assert_eq!(destination(&[]), None);
    }
}
