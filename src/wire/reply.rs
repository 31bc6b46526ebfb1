//! Replies in RESP2 and RESP3.

use bytes::BytesMut;

/// Which protocol a session speaks.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// Writes replies to the end of one buffer.
pub struct Reply<'a> {
    out: &'a mut BytesMut,
    protocol: Protocol,
}

impl<'a> Reply<'a> {
    pub fn new(out: &'a mut BytesMut, protocol: Protocol) -> Reply<'a> {
        Reply { out, protocol }
    }
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }
    /// `+OK`
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }
}
