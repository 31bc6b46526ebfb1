//! Members by node: a sorted list, since they are few and looked through all the time.

use crate::base::ids::NodeId;

use super::member::Member;

/// The other members, in the order of their nodes.
#[derive(Clone, Debug, Default)]
pub struct Others {
    list: Vec<Member>,
}

impl Others {
    fn place(&self, node: NodeId) -> Result<usize, usize> {
        self.list.binary_search_by_key(&node, |member| member.record.node)
    }

    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.place(node).ok().map(|at| &self.list[at])
    }

    pub fn get_mut(&mut self, node: NodeId) -> Option<&mut Member> {
        self.place(node).ok().map(|at| &mut self.list[at])
    }

    pub fn contains(&self, node: NodeId) -> bool {
        self.place(node).is_ok()
    }

    /// Puts a member in, and gives the one of this node that was there before.
    pub fn insert(&mut self, member: Member) -> Option<Member> {
        match self.place(member.record.node) {
            Ok(at) => Some(core::mem::replace(&mut self.list[at], member)),
            Err(at) => {
                self.list.insert(at, member);
                None
            }
        }
    }

    pub fn iter(&self) -> core::slice::Iter<'_, Member> {
        self.list.iter()
    }

    pub fn iter_mut(&mut self) -> core::slice::IterMut<'_, Member> {
        self.list.iter_mut()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }
}
