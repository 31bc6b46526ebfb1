//! News: what a heartbeat says on all links alike. A connection is told all of it once, and then what has
//! changed: in a large or old cluster vectors are long, and little of them moves from one heartbeat to the next.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::ids::Origin;
use crate::base::vector::Vector;

use super::frame::Record;
use super::packed::{Malformed, Packed, Read, Reader};

/// What a heartbeat says on all links alike.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct News {
    /// What the sender has; on a stream that is caught up the receiver then has it too.
    pub vector: Vector,
    /// One of each node.
    pub members: Vec<Record>,
}

/// The news that came last on a connection.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub(super) news: Arc<News>,
}

/// News as they are sent.
#[derive(Copy, Clone, Debug)]
pub enum Written<'a> {
    Whole(&'a [u8]),
    /// Since the heartbeat before.
    Changes(&'a [u8]),
}

/// The news of a node's newest heartbeat, on their way to all its links.
#[derive(Debug, Default)]
pub struct Telling {
    news: News,
    /// How many heartbeats there have been.
    number: u64,
    changes: Vec<u8>,
    /// Empty until somebody needs it.
    whole: Vec<u8>,
}

impl Telling {
    /// The next heartbeat says this.
    pub fn renew<'a>(&mut self, vector: &Vector, members: impl Iterator<Item = &'a Record>) {
        self.number += 1;
        self.whole.clear();
        let now = News { vector: vector.clone(), members: members.cloned().collect() };
        self.changes.clear();
        put_changes(&self.news, &now, &mut self.changes);
        self.news = now;
    }

    /// The news for a connection that was told those of heartbeat number `told` last (0: none), which becomes this one's.
    pub fn written_for(&mut self, told: &mut u64) -> Written<'_> {
        let last = core::mem::replace(told, self.number);
        if last > 0 && last + 1 == self.number {
            return Written::Changes(&self.changes);
        }
        if self.whole.is_empty() {
            self.news.put(&mut self.whole);
        }
        Written::Whole(&self.whole)
    }
}

/// How a member's record goes on from the news before: number 0 is followed by a whole record; from the place p
/// there it is taken as it was by 2p + 1, and with changes, which follow, by 2p + 2.
enum From {
    Nothing,
    Same(usize),
    Changed(usize),
}

impl Packed for From {
    fn put(&self, out: &mut Vec<u8>) {
        let number = match *self {
            From::Nothing => 0,
            From::Same(place) => 2 * place as u64 + 1,
            From::Changed(place) => 2 * place as u64 + 2,
        };
        number.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Read<From> {
        let Some(number) = from.take::<u64>()?.checked_sub(1) else { return Ok(From::Nothing) };
        let place = usize::try_from(number / 2).map_err(|_| Malformed)?;
        Ok(if number % 2 == 0 { From::Same(place) } else { From::Changed(place) })
    }
}

fn put_changes(old: &News, new: &News, out: &mut Vec<u8>) {
    new.vector.changes_since(&old.vector).put(out);
    (new.members.len() as u64).put(out);
    for record in &new.members {
        let is_it = |r: &Record| {
            (r.node, r.run, r.epoch, r.origin)
                == (record.node, record.run, record.epoch, record.origin)
        };
        match old.members.iter().position(is_it) {
            None => {
                From::Nothing.put(out);
                record.put(out);
            }
            Some(place) if old.members[place] == *record => From::Same(place).put(out),
            Some(place) => {
                From::Changed(place).put(out);
                put_record_changes(&old.members[place], record, out);
            }
        }
    }
}

fn put_record_changes(old: &Record, new: &Record, out: &mut Vec<u8>) {
    let Record { node: _, run: _, epoch: _, origin: _, seq, brings, met_all, .. } = new;
    let Record { vector, clock, announced_to, joined, collected, lists, .. } = new;
    seq.put(out);
    brings.put(out);
    met_all.put(out);
    vector.changes_since(&old.vector).put(out);
    clock.put(out);
    put_unless_same(&old.announced_to, announced_to, out);
    joined.put(out);
    collected.put(out);
    put_unless_same(&old.lists, lists, out);
}

fn put_unless_same<T: Packed + PartialEq>(old: &Vec<T>, new: &Vec<T>, out: &mut Vec<u8>) {
    let differs = old != new;
    differs.put(out);
    if differs {
        new.put(out);
    }
}

/// Reads what has changed since the news that were heard; after an error those are of no use.
pub fn take_changes(from: &mut Reader<'_>, heard: &mut Heard) -> Read<()> {
    let news = Arc::make_mut(&mut heard.news);
    change_vector(&mut news.vector, from)?;
    let old = core::mem::take(&mut news.members);
    let mut old: Vec<Option<Record>> = old.into_iter().map(Some).collect();
    let mut taken = |place: usize| old.get_mut(place).and_then(Option::take).ok_or(Malformed);
    for _ in 0..from.take::<u64>()? {
        let record = match from.take()? {
            From::Nothing => from.take()?,
            From::Same(place) => taken(place)?,
            From::Changed(place) => {
                let mut record = taken(place)?;
                change_record(&mut record, from)?;
                record
            }
        };
        news.members.push(record);
    }
    Ok(())
}

fn change_record(record: &mut Record, from: &mut Reader<'_>) -> Read<()> {
    let Record { node: _, run: _, epoch: _, origin: _, seq, brings, met_all, .. } = record;
    let Record { vector, clock, announced_to, joined, collected, lists, .. } = record;
    *seq = from.take()?;
    *brings = from.take()?;
    *met_all = from.take()?;
    change_vector(vector, from)?;
    *clock = from.take()?;
    change_list(announced_to, from)?;
    *joined = from.take()?;
    *collected = from.take()?;
    change_list(lists, from)
}

fn change_vector(vector: &mut Vector, from: &mut Reader<'_>) -> Read<()> {
    let changes: Vec<(Origin, u64)> = from.take()?;
    for (origin, time) in changes {
        vector.set(origin, time);
    }
    Ok(())
}

fn change_list<T: Packed>(list: &mut Vec<T>, from: &mut Reader<'_>) -> Read<()> {
    if from.take()? {
        *list = from.take()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::base::ids::{Epoch, NodeId, RunId};
    use crate::base::time::{Mono, UnixMs, Wall};
    use crate::wire::frame::{Frame, FrameError, Heartbeat, Pulse};

    const PULSE: Pulse = Pulse { wall: Wall(7), sent: Mono(8), echo: None, caught_up: true };

    fn vector() -> impl Strategy<Value = Vector> {
        vec((0..4u32, 0..3u64), 0..6).prop_map(|entries| {
            Vector::from(entries.into_iter().map(|(o, t)| (Origin(o), t)).collect::<Vec<_>>())
        })
    }

    fn record() -> impl Strategy<Value = Record> {
        let life = (0..4u128, 0..2u32, 0..3u64, any::<bool>());
        let lives = || vec((0..3u128, 0..3u32), 0..3);
        (life, vector(), lives(), lives()).prop_map(|(life, vector, announced, lists)| {
            let (node, epoch, seq, brings) = life;
            let named = |list: Vec<(u128, u32)>| {
                list.into_iter().map(|(n, o)| (NodeId(n), Origin(o))).collect()
            };
            Record {
                node: NodeId(node),
                run: RunId(node),
                epoch: Epoch(epoch),
                origin: Origin(epoch),
                seq,
                brings,
                met_all: !brings,
                vector,
                clock: UnixMs(seq),
                announced_to: named(announced),
                joined: brings,
                collected: seq,
                lists: named(lists),
            }
        })
    }

    fn news() -> impl Strategy<Value = News> {
        (vector(), vec(record(), 0..4)).prop_map(|(vector, mut members)| {
            let mut named = Vec::new();
            members.retain(|r: &Record| {
                !named.contains(&r.node) && {
                    named.push(r.node);
                    true
                }
            });
            News { vector, members }
        })
    }

    /// One frame off the front of what a link carried.
    fn heard_of(link: &[u8], heard: &mut Heard) -> Result<Option<Frame>, FrameError> {
        Frame::decode(&mut BytesMut::from(link), 1 << 20, heard)
    }

    proptest! {
        /// Each link misses some heartbeats; whatever it gets says what was said.
        #[test]
        fn every_link_hears_what_is_said(
            said in vec((news(), any::<[bool; 3]>()), 1..12),
        ) {
            let mut telling = Telling::default();
            let mut links = [(0, Heard::default()), (0, Heard::default()), (0, Heard::default())];
            for (news, gets) in &said {
                telling.renew(&news.vector, news.members.iter());
                for ((told, heard), gets) in links.iter_mut().zip(gets) {
                    if *gets {
                        let mut link = Vec::new();
                        let again = *told > 0;
                        let before = *told;
                        let written = telling.written_for(told);
                        prop_assert_eq!(
                            matches!(written, Written::Changes(_)),
                            again && before + 1 == *told
                        );
                        Frame::encode_heartbeat(&PULSE, written, &mut link);
                        let expected = Heartbeat { pulse: PULSE, news: Arc::new(news.clone()) };
                        prop_assert_eq!(heard_of(&link, heard), Ok(Some(Frame::Heartbeat(expected))));
                    }
                }
            }
        }

        /// Bytes that are no changes of what was heard are refused, and take no memory beyond their length.
        #[test]
        fn any_bytes_are_changes_or_malformed(
            first in news(),
            bytes in vec(proptest::prop_oneof![any::<u8>(), 0..4u8], 0..60),
        ) {
            let mut heard = Heard { news: Arc::new(first.clone()) };
            if take_changes(&mut Reader::new(&bytes), &mut heard).is_ok() {
                prop_assert!(heard.news.members.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn news_that_stay_as_they_are_take_two_bytes_and_one_for_each_member() {
        let members: Vec<Record> = (0..6).map(a_member).collect();
        let vector = members[0].vector.clone();
        let (mut telling, mut told) = (Telling::default(), 0);
        telling.renew(&vector, members.iter());
        let Written::Whole(whole) = telling.written_for(&mut told) else { panic!("the first") };
        assert!(whole.len() > 2500, "{} bytes", whole.len());
        telling.renew(&vector, members.iter());
        let Written::Changes(changes) = telling.written_for(&mut told) else { panic!("the next") };
        assert_eq!(changes.len(), 2 + 6);
    }

    fn a_member(number: u32) -> Record {
        let entries: Vec<_> = (0..30).map(|o| (Origin(u32::MAX - o), 1 << 60)).collect();
        Record {
            node: NodeId(u128::from(number)),
            run: RunId(1),
            epoch: Epoch(1),
            origin: Origin(number),
            seq: 5,
            brings: true,
            met_all: true,
            vector: entries.into(),
            clock: UnixMs(1),
            announced_to: Vec::new(),
            joined: true,
            collected: 1,
            lists: Vec::new(),
        }
    }
}
