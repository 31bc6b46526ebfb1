//! Listening: which addresses, and what happens to a connection before the node sees it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::sleep;

use super::hub::Shared;
use crate::base::io::ConnOrigin;

/// The sockets a server listens on.
pub type Listeners = Vec<TcpListener>;

/// Why a server cannot listen.
#[derive(Debug)]
pub struct BindError {
    /// The address as configured.
    pub address: String,
    pub port: u16,
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { address, port, source } = self;
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                write!(f, "port {port} of {address} is in use: another server listens there")
            }
            io::ErrorKind::PermissionDenied => {
                write!(f, "no permission to listen on port {port} of {address}")
            }
            _ => write!(f, "cannot listen on port {port} of {address}: {source}"),
        }
    }
}

/// Listens on every address of `bind`, in redis.conf's words: `*` and `::*` are all IPv4 and IPv6 addresses;
/// a leading `-` tolerates an address this host does not have.
///
/// # Errors
/// The first address that cannot be listened on and must be. What was bound before is released.
pub async fn bind(addresses: &[String], port: u16) -> Result<Listeners, BindError> {
    let mut listeners = Listeners::new();
    for word in addresses {
        let optional = word.starts_with('-');
        let name = match word.trim_start_matches('-') {
            "*" => "0.0.0.0",
            "::*" => "::",
            name => name,
        };
        match bind_name(name, port).await {
            Ok(bound) => listeners.extend(bound),
            Err(e) if optional && e.kind() != io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(BindError { address: name.to_owned(), port, source }),
        }
    }
    if listeners.is_empty() {
        let source = io::Error::from(io::ErrorKind::AddrNotAvailable);
        return Err(BindError { address: addresses.join(" "), port, source });
    }
    Ok(listeners)
}

async fn bind_name(name: &str, port: u16) -> io::Result<Listeners> {
    let mut listeners = Listeners::new();
    for address in lookup_host((name, port)).await? {
        listeners.push(bind_one(address).await?);
    }
    Ok(listeners)
}

#[cfg(not(madsim))]
async fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};

    const BACKLOG: i32 = 1024;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `*` and `::*` are bound side by side.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(madsim)]
async fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Sets what every connection has set.
#[cfg(not(madsim))]
pub(super) fn prepare(stream: &TcpStream, keepalive_secs: u32) {
    // A failure here means that the connection is already gone, which the first read will say.
    let _ = stream.set_nodelay(true);
    if keepalive_secs > 0 {
        let period = Duration::from_secs(u64::from(keepalive_secs));
        let probe = Duration::from_secs(u64::from((keepalive_secs / 3).max(1)));
        let keepalive =
            socket2::TcpKeepalive::new().with_time(period).with_interval(probe).with_retries(3);
        let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
    }
}

#[cfg(madsim)]
pub(super) fn prepare(_stream: &TcpStream, _keepalive_secs: u32) {}

/// Accepts until the process ends.
pub(super) async fn accept_loop(shared: Arc<Shared>, listener: TcpListener) {
    /// Pause after a failure such as "too many open files".
    const AFTER_FAILURE: Duration = Duration::from_millis(100);
    loop {
        match listener.accept().await {
            Ok((stream, from)) => admit(&shared, stream, from).await,
            Err(e) => {
                tracing::warn!("Accepting client connection: {e}");
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn admit(shared: &Arc<Shared>, mut stream: TcpStream, from: SocketAddr) {
    let keepalive_secs = {
        let mut hub = shared.lock();
        if hub.has_room() {
            prepare(&stream, hub.keepalive_secs);
            let origin = ConnOrigin::Accepted { ip: from.ip(), port: from.port() };
            hub.open(shared, stream, origin);
            return;
        }
        hub.refused();
        hub.keepalive_secs
    };
    prepare(&stream, keepalive_secs);
    // The buffer of a fresh socket has room for this, so it does not wait.
    let _ = stream.write_all(b"-ERR max number of clients reached\r\n").await;
    let _ = stream.flush().await;
}
