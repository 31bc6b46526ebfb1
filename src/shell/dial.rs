//! Connecting to others: name resolution, each address in turn, the reason of a failure.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::hub::Shared;
use super::listen::prepare;
use crate::base::ids::DialId;
use crate::base::io::{DialError, HostPort};

/// How long the addresses of a name are used. The node gives up an attempt after a second and makes the
/// next one within three: what took the resolver longer than one attempt serves the next.
const ADDRESSES_FRESH: Duration = Duration::from_secs(5);

/// Connects to `to` and reports the outcome to the node. How long that may take is the node's business:
/// it cancels. The route outlives the attempt: the next one does not begin where this one got stuck.
pub(super) async fn dial(
    shared: Arc<Shared>,
    dial: DialId,
    to: HostPort,
    route: Arc<Route>,
    keepalive_secs: u32,
) {
    let result = connect(&route, to).await;
    if let Ok(stream) = &result {
        prepare(stream, keepalive_secs);
    }
    shared.lock().on_dialed(&shared, dial, result);
}

async fn connect(route: &Arc<Route>, to: HostPort) -> Result<TcpStream, DialError> {
    let addresses = match to.host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, to.port)],
        Err(_) => {
            let found = async move {
                let found = lookup_host((to.host.as_str(), to.port)).await;
                found.map(Iterator::collect).unwrap_or_default()
            };
            route.addresses(found).await
        }
    };
    route.connect(&addresses).await
}

/// What is known of the way to one peer.
#[derive(Default)]
pub(super) struct Route {
    state: Mutex<RouteState>,
    resolved: Notify,
}

#[derive(Default)]
struct RouteState {
    /// The outcome of the last resolution, and when it came.
    addresses: Option<(Instant, Vec<SocketAddr>)>,
    resolving: bool,
    /// At which address, in their order, the next attempt begins.
    next: usize,
}

impl Route {
    /// The addresses of a name, from `resolve` unless they are known; none if there is no such name. The
    /// resolution goes on although the attempt that began it is cancelled.
    async fn addresses(
        self: &Arc<Route>,
        resolve: impl Future<Output = Vec<SocketAddr>> + Send + 'static,
    ) -> Vec<SocketAddr> {
        let resolved = self.resolved.notified();
        {
            let mut state = self.lock();
            if let Some((at, addresses)) = &state.addresses
                && !addresses.is_empty()
                && at.elapsed() < ADDRESSES_FRESH
            {
                return addresses.clone();
            }
            if !state.resolving {
                state.resolving = true;
                let route = self.clone();
                tokio::spawn(async move { route.on_resolved(resolve.await) });
            }
        }
        resolved.await;
        let state = self.lock();
        state.addresses.as_ref().map(|(_, addresses)| addresses.clone()).unwrap_or_default()
    }

    fn on_resolved(&self, addresses: Vec<SocketAddr>) {
        let mut state = self.lock();
        state.resolving = false;
        state.addresses = Some((Instant::now(), addresses));
        drop(state);
        self.resolved.notify_waiters();
    }

    /// Tries one address after the other. The first one is another in each attempt until one succeeds, so
    /// that an address that never answers does not use up the time of all.
    async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
        let first = {
            let mut state = self.lock();
            let first = state.next;
            state.next = first.wrapping_add(1);
            first
        };
        let mut last = DialError::NameUnknown;
        for step in 0..addresses.len() {
            let at = first.wrapping_add(step) % addresses.len();
            match TcpStream::connect(addresses[at]).await {
                Ok(stream) => {
                    self.lock().next = at;
                    return Ok(stream);
                }
                Err(e) => last = dial_error(&e),
            }
        }
        Err(last)
    }

    fn lock(&self) -> MutexGuard<'_, RouteState> {
        self.state.lock().expect("a task that panicked has ended the process")
    }
}

fn dial_error(e: &io::Error) -> DialError {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            DialError::Unreachable
        }
        io::ErrorKind::TimedOut => DialError::TimedOut,
        _ => DialError::Other,
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;

    use socket2::{Domain, Socket, Type};
    use tokio::time::{sleep, timeout};

    use super::*;

    const ATTEMPT: Duration = Duration::from_millis(200);

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(test);
    }

    /// A listener on the loopback interface with room for so many connections, and its address.
    fn listener(backlog: i32) -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).expect("a free port");
        socket.listen(backlog).expect("it is bound");
        let address = socket.local_addr().expect("it is bound").as_socket();
        (socket, address.expect("an IPv4 address"))
    }

    #[test]
    fn an_address_that_never_answers_does_not_keep_from_the_next() {
        run(async {
            // Who accepts nothing while its queue is full answers no further attempt.
            let (_deaf, silent) = listener(0);
            let mut queued = Vec::new();
            while let Ok(Ok(stream)) = timeout(ATTEMPT, TcpStream::connect(silent)).await {
                queued.push(stream);
            }
            let (_hears, good) = listener(16);
            let route = Route::default();
            let addresses = [silent, good];
            let attempt = || timeout(ATTEMPT, route.connect(&addresses));
            assert!(attempt().await.is_err(), "the first address uses up the first attempt");
            for _ in 0..3 {
                let stream = attempt().await.expect("in time").expect("connected");
                assert_eq!(stream.peer_addr().expect("connected"), good, "and again from there");
            }
        });
    }

    #[test]
    fn a_slow_resolver_serves_a_later_attempt() {
        run(async {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
            let route = Arc::new(Route::default());
            let slow = async move {
                sleep(3 * ATTEMPT).await;
                vec![address]
            };
            assert!(timeout(ATTEMPT, route.addresses(slow)).await.is_err());
            // It is asked once, and goes on although nobody waits for it.
            assert!(timeout(ATTEMPT, route.addresses(pending())).await.is_err());
            sleep(2 * ATTEMPT).await;
            let known = timeout(ATTEMPT, route.addresses(pending())).await;
            assert_eq!(known, Ok(vec![address]));
        });
    }

    #[test]
    fn every_address_is_tried_and_an_unknown_name_has_none() {
        run(async {
            let (closed, refusing) = listener(1);
            drop(closed);
            let (_hears, good) = listener(16);
            let route = Route::default();
            let stream = route.connect(&[refusing, good]).await.expect("connected");
            assert_eq!(stream.peer_addr().expect("connected"), good);
            assert_eq!(route.connect(&[refusing]).await.err(), Some(DialError::Refused));
            let route = Arc::new(route);
            let nothing = route.addresses(async { Vec::new() }).await;
            assert_eq!(route.connect(&nothing).await.err(), Some(DialError::NameUnknown));
        });
    }
}
