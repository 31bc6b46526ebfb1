//! Connecting to others: name resolution, each address in turn, the reason of a failure.

use std::io;
use std::sync::Arc;

use tokio::net::{TcpStream, lookup_host};

use super::hub::Shared;
use super::listen::prepare;
use crate::base::ids::DialId;
use crate::base::io::{DialError, HostPort};

/// Connects to `to` and reports the outcome to the node. How long that may take is the node's business:
/// it cancels.
pub(super) async fn dial(shared: Arc<Shared>, dial: DialId, to: HostPort, keepalive_secs: u32) {
    let result = connect(&to).await;
    if let Ok(stream) = &result {
        prepare(stream, keepalive_secs);
    }
    shared.lock().on_dialed(&shared, dial, result);
}

async fn connect(to: &HostPort) -> Result<TcpStream, DialError> {
    let found = lookup_host((to.host.as_str(), to.port)).await;
    let mut last = DialError::NameUnknown;
    for address in found.map_err(|_| DialError::NameUnknown)? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = dial_error(&e),
        }
    }
    Err(last)
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
