//! Small integers for what a world is made of.

/// A host, by its number in the order they were added.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub u16);

/// A client's connection, unique in its world.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientConn(pub u32);

impl HostId {
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
