//! All endpoints of a world, by index; a reference to one that is gone finds nothing.

use super::Sock;

/// Names an endpoint for its life; never another one.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SockRef {
    pub index: u32,
    pub generation: u32,
}

impl SockRef {
    pub const NONE: SockRef = SockRef { index: u32::MAX, generation: 0 };
}

#[derive(Debug, Default)]
pub struct Socks {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    sock: Option<Box<Sock>>,
}

impl Socks {
    pub fn new() -> Socks {
        Socks::default()
    }

    pub fn insert(&mut self, mut sock: Sock) -> SockRef {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Slot { generation: 0, sock: None });
                (self.slots.len() - 1) as u32
            }
        };
        let slot = &mut self.slots[index as usize];
        let me = SockRef { index, generation: slot.generation };
        sock.me = me;
        slot.sock = Some(Box::new(sock));
        me
    }

    #[inline]
    pub fn get(&self, at: SockRef) -> Option<&Sock> {
        let slot = self.slots.get(at.index as usize)?;
        if slot.generation == at.generation { slot.sock.as_deref() } else { None }
    }

    #[inline]
    pub fn get_mut(&mut self, at: SockRef) -> Option<&mut Sock> {
        let slot = self.slots.get_mut(at.index as usize)?;
        if slot.generation == at.generation { slot.sock.as_deref_mut() } else { None }
    }

    pub fn remove(&mut self, at: SockRef) -> Option<Box<Sock>> {
        let slot = self.slots.get_mut(at.index as usize)?;
        if slot.generation != at.generation {
            return None;
        }
        let sock = slot.sock.take()?;
        slot.generation += 1;
        self.free.push(at.index);
        Some(sock)
    }

    /// All endpoints, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = &Sock> {
        self.slots.iter().filter_map(|slot| slot.sock.as_deref())
    }
}
