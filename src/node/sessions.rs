//! The sessions by connection. Every request looks its own up several times.

use crate::base::ids::ConnId;

use super::session::Session;

/// Sessions in the order of their connections' numbers. Drivers count those up, so a new one goes to the
/// end. One that has ended leaves its place empty until half of all places are: closing ten thousand
/// connections moves no more than a few times as many.
#[derive(Debug, Default)]
pub struct Sessions {
    list: Vec<(ConnId, Option<Box<Session>>)>,
    len: usize,
}

impl Sessions {
    /// Adds a session.
    ///
    /// # Panics
    /// If the connection has one: a connection's number names one connection.
    pub fn insert(&mut self, session: Box<Session>) {
        let conn = session.conn;
        let at = match self.list.last() {
            Some((last, _)) if *last >= conn => self.place(conn),
            Some(_) | None => Err(self.list.len()),
        };
        match at {
            Ok(at) => {
                let earlier = self.list[at].1.replace(session);
                assert!(earlier.is_none(), "a connection's number names one connection");
            }
            Err(at) => self.list.insert(at, (conn, Some(session))),
        }
        self.len += 1;
    }

    pub fn remove(&mut self, conn: ConnId) -> Option<Box<Session>> {
        let at = self.place(conn).ok()?;
        let session = self.list[at].1.take()?;
        self.len -= 1;
        if self.len <= self.list.len() / 2 {
            self.list.retain(|(_, session)| session.is_some());
        }
        Some(session)
    }

    #[inline]
    pub fn get(&self, conn: ConnId) -> Option<&Session> {
        self.list[self.place(conn).ok()?].1.as_deref()
    }

    #[inline]
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        let at = self.place(conn).ok()?;
        self.list[at].1.as_deref_mut()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.list.iter().filter_map(|(_, session)| session.as_deref())
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.list.iter_mut().filter_map(|(_, session)| session.as_deref_mut())
    }

    #[inline]
    fn place(&self, conn: ConnId) -> Result<usize, usize> {
        self.list.binary_search_by_key(&conn, |(conn, _)| *conn)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::base::time::Mono;

    fn session(conn: u64) -> Box<Session> {
        let address = (IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
        Box::new(Session::new(ConnId(conn), conn, address, Mono(0)))
    }

    proptest! {
        /// Opened in any order, closed in any order: what is there is found, in order, and nothing else.
        #[test]
        fn open_sessions_are_found_in_order(
            steps in proptest::collection::vec((any::<bool>(), 0u64..40), 0..200),
        ) {
            let mut sessions = Sessions::default();
            let mut open = BTreeSet::new();
            for (opens, conn) in steps {
                if opens && open.insert(conn) {
                    sessions.insert(session(conn));
                } else if !opens {
                    prop_assert_eq!(sessions.remove(ConnId(conn)).is_some(), open.remove(&conn));
                }
                prop_assert_eq!(sessions.len(), open.len());
                let found: Vec<u64> = sessions.iter().map(|session| session.conn.0).collect();
                prop_assert!(found.iter().eq(&open), "{found:?} instead of {open:?}");
                for conn in 0..40 {
                    let (id, expected) = (ConnId(conn), open.contains(&conn));
                    prop_assert_eq!(sessions.get(id).is_some(), expected);
                    prop_assert_eq!(sessions.get_mut(id).is_some_and(|s| s.conn == id), expected);
                }
                prop_assert!(sessions.list.len() <= 2 * sessions.len(), "few empty places");
            }
        }
    }

    #[test]
    #[should_panic(expected = "names one connection")]
    fn one_connection_has_one_session() {
        let mut sessions = Sessions::default();
        sessions.insert(session(1));
        sessions.insert(session(1));
    }
}
