//! What frames say, in the format of [`super::packed`]: the fields in their order, nothing else.

use super::frame::{Hello, Pulse, Record, Refusal};
use super::news::News;
use super::packed::{Malformed, Packed, Read, Reader};
use crate::base::ids::{DbIndex, Epoch, NodeId, Origin, RunId};
use crate::base::stamp::Stamp;
use crate::base::time::{Mono, Span, UnixMs, Wall};
use crate::base::unit::{Cell, Change, Kind, Part, Seen, SeenContribution, Unit};
use crate::base::vector::Vector;

/// Types that are one number.
macro_rules! packed_number {
    ($($name:ident),*) => {
        $(impl Packed for $name {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            #[inline]
            fn take(from: &mut Reader<'_>) -> Read<$name> {
                from.take().map($name)
            }
        })*
    };
}

/// Types that are their fields, in this order.
macro_rules! packed_fields {
    ($($name:ident { $($field:ident),* })*) => {
        $(impl Packed for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let $name { $($field),* } = self;
                $($field.put(out);)*
            }

            fn take(from: &mut Reader<'_>) -> Read<$name> {
                Ok($name { $($field: from.take()?),* })
            }
        })*
    };
}

packed_number!(DbIndex, Epoch, Mono, NodeId, Origin, RunId, Span, UnixMs, Wall);

packed_fields! {
    Stamp { time, origin }
    Unit { dot, changes }
    Change { db, key, stamp, cell }
    Seen { list, horizon }
    SeenContribution { origin, generation, last, sum }
    Record {
        node, run, epoch, origin, seq, brings, met_all, vector, clock, announced_to, joined,
        collected, lists
    }
    Hello {
        node, run, epoch, origin, port, whole, brings, joining, wall, clock, vector, strays,
        horizon_bound, horizon_needs, holds, members
    }
    Pulse { wall, sent, echo, caught_up }
    News { vector, members }
}

impl Packed for Vector {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        for entry in self.iter() {
            entry.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Read<Vector> {
        from.take().map(Vec::into)
    }
}

impl Packed for Cell {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Cell::Register { value, resets, seen } => {
                out.push(0);
                value.put(out);
                resets.put(out);
                seen.put(out);
            }
            Cell::Tombstone { seen } => {
                out.push(1);
                seen.put(out);
            }
            Cell::Contribution { generation, sum } => {
                out.push(2);
                generation.put(out);
                sum.put(out);
            }
            Cell::Expiry { deadline } => {
                out.push(3);
                deadline.put(out);
            }
            Cell::KeyCell { floor } => {
                out.push(4);
                floor.put(out);
            }
            Cell::DatabaseTombstone => out.push(5),
            Cell::Kind { kind } => {
                out.push(6);
                kind.put(out);
            }
            Cell::Element { kind, name, part } => {
                out.push(7);
                kind.put(out);
                name.put(out);
                part.put(out);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Read<Cell> {
        Ok(match from.take::<u32>()? {
            0 => {
                let (value, resets, seen) = (from.take()?, from.take()?, from.take()?);
                Cell::Register { value, resets, seen }
            }
            1 => Cell::Tombstone { seen: from.take()? },
            2 => Cell::Contribution { generation: from.take()?, sum: from.take()? },
            3 => Cell::Expiry { deadline: from.take()? },
            4 => Cell::KeyCell { floor: from.take()? },
            5 => Cell::DatabaseTombstone,
            6 => Cell::Kind { kind: from.take()? },
            7 => {
                let (kind, name, part) = (from.take()?, from.take()?, from.take()?);
                Cell::Element { kind, name, part }
            }
            8.. => return Err(Malformed),
        })
    }
}

impl Packed for Kind {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Kind::Hash => out.push(0),
        }
    }

    fn take(from: &mut Reader<'_>) -> Read<Kind> {
        Ok(match from.take::<u32>()? {
            0 => Kind::Hash,
            1.. => return Err(Malformed),
        })
    }
}

impl Packed for Part {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Part::Register { value, seen } => {
                out.push(0);
                value.put(out);
                seen.put(out);
            }
            Part::Tombstone { seen } => {
                out.push(1);
                seen.put(out);
            }
            Part::Contribution { generation, sum } => {
                out.push(2);
                generation.put(out);
                sum.put(out);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Read<Part> {
        Ok(match from.take::<u32>()? {
            0 => Part::Register { value: from.take()?, seen: from.take()? },
            1 => Part::Tombstone { seen: from.take()? },
            2 => Part::Contribution { generation: from.take()?, sum: from.take()? },
            3.. => return Err(Malformed),
        })
    }
}

impl Packed for Refusal {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Refusal::Version { ours } => {
                out.push(0);
                ours.put(out);
            }
            Refusal::Myself => out.push(1),
            Refusal::NodeIdInUse => out.push(2),
            Refusal::EpochTaken { newest } => {
                out.push(3);
                newest.put(out);
            }
            Refusal::ForeignCluster => out.push(4),
            Refusal::Malformed => out.push(5),
        }
    }

    fn take(from: &mut Reader<'_>) -> Read<Refusal> {
        Ok(match from.take::<u32>()? {
            0 => Refusal::Version { ours: from.take()? },
            1 => Refusal::Myself,
            2 => Refusal::NodeIdInUse,
            3 => Refusal::EpochTaken { newest: from.take()? },
            4 => Refusal::ForeignCluster,
            5 => Refusal::Malformed,
            6.. => return Err(Malformed),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
    use proptest::sample::Index;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;

    /// Numbers of every length about equally often.
    fn number() -> impl Strategy<Value = u64> + Clone {
        (any::<u64>(), 0..64u32).prop_map(|(n, shift)| n >> shift)
    }

    fn id() -> impl Strategy<Value = u128> {
        (any::<u128>(), 0..128u32, any::<bool>())
            .prop_map(|(n, shift, whole)| if whole { n } else { n >> shift })
    }

    fn sum() -> impl Strategy<Value = i128> {
        (any::<i128>(), 0..128u32).prop_map(|(n, shift)| n >> shift)
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..20).prop_map(Bytes::from)
    }

    fn origin() -> impl Strategy<Value = Origin> {
        any::<u32>().prop_map(Origin)
    }

    fn vector() -> impl Strategy<Value = Vector> {
        vec((origin(), number()), 0..5).prop_map(Vector::from)
    }

    fn stamp() -> impl Strategy<Value = Stamp> {
        (number(), origin()).prop_map(|(time, origin)| Stamp { time, origin })
    }

    fn lives() -> impl Strategy<Value = Vec<(NodeId, Origin)>> {
        vec((id().prop_map(NodeId), origin()), 0..4)
    }

    fn record() -> impl Strategy<Value = Record> {
        let life = (id(), id(), any::<u32>(), origin(), number());
        let rest = (any::<(bool, bool, bool)>(), vector(), number(), lives(), number(), lives());
        (life, rest).prop_map(|((node, run, epoch, origin, seq), rest)| {
            let ((brings, met_all, joined), vector, clock, announced_to, collected, lists) = rest;
            Record {
                node: NodeId(node),
                run: RunId(run),
                epoch: Epoch(epoch),
                origin,
                seq,
                brings,
                met_all,
                vector,
                clock: UnixMs(clock),
                announced_to,
                joined,
                collected,
                lists,
            }
        })
    }

    fn hello() -> impl Strategy<Value = Hello> {
        let says = (any::<(u16, bool, bool, bool)>(), number(), number(), number());
        let lists = (lives(), vec(origin(), 0..3), vec(origin(), 0..3), vec(record(), 0..3));
        let all = (record(), says, lists);
        all.prop_map(|(record, says, (needs, holds, strays, members))| {
            let ((port, whole, brings, joining), wall, clock, horizon_bound) = says;
            let Record { node, run, epoch, origin, vector, .. } = record;
            let wall = Wall(wall);
            Hello {
                node,
                run,
                epoch,
                origin,
                port,
                whole,
                brings,
                joining,
                wall,
                clock,
                vector,
                strays,
                horizon_bound,
                horizon_needs: needs,
                holds,
                members,
            }
        })
    }

    fn seen() -> impl Strategy<Value = Seen> {
        let one =
            (origin(), number(), number(), sum()).prop_map(|(origin, generation, last, sum)| {
                SeenContribution { origin, generation, last, sum }
            });
        (vec(one, 0..3), number()).prop_map(|(list, horizon)| Seen { list, horizon })
    }

    fn cell() -> impl Strategy<Value = Cell> {
        prop_oneof![
            (bytes(), any::<bool>(), seen()).prop_map(|(value, resets, seen)| Cell::Register {
                value,
                resets,
                seen
            }),
            seen().prop_map(|seen| Cell::Tombstone { seen }),
            (number(), sum()).prop_map(|(generation, sum)| Cell::Contribution { generation, sum }),
            option::of(number())
                .prop_map(|deadline| Cell::Expiry { deadline: deadline.map(UnixMs) }),
            number().prop_map(|floor| Cell::KeyCell { floor }),
            Just(Cell::DatabaseTombstone),
            Just(Cell::Kind { kind: Kind::Hash }),
            (bytes(), part()).prop_map(|(name, part)| Cell::Element {
                kind: Kind::Hash,
                name,
                part
            }),
        ]
    }

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![
            (bytes(), seen()).prop_map(|(value, seen)| Part::Register { value, seen }),
            seen().prop_map(|seen| Part::Tombstone { seen }),
            (number(), sum()).prop_map(|(generation, sum)| Part::Contribution { generation, sum }),
        ]
    }

    fn unit() -> impl Strategy<Value = Unit> {
        let change = (any::<u16>(), bytes(), option::of(stamp()), cell())
            .prop_map(|(db, key, stamp, cell)| Change { db: DbIndex(db), key, stamp, cell });
        (stamp(), vec(change, 0..4)).prop_map(|(dot, changes)| Unit { dot, changes })
    }

    fn refusal() -> impl Strategy<Value = Refusal> {
        prop_oneof![
            any::<u16>().prop_map(|ours| Refusal::Version { ours }),
            Just(Refusal::Myself),
            Just(Refusal::NodeIdInUse),
            any::<u32>().prop_map(|newest| Refusal::EpochTaken { newest: Epoch(newest) }),
            Just(Refusal::ForeignCluster),
            Just(Refusal::Malformed),
        ]
    }

    fn pulse() -> impl Strategy<Value = Pulse> {
        (number(), number(), option::of((number(), number())), any::<bool>()).prop_map(
            |(wall, sent, echo, caught_up)| {
                let echo = echo.map(|(sent, held)| (Mono(sent), Span(held)));
                Pulse { wall: Wall(wall), sent: Mono(sent), echo, caught_up }
            },
        )
    }

    fn news() -> impl Strategy<Value = News> {
        (vector(), vec(record(), 0..4)).prop_map(|(vector, members)| News { vector, members })
    }

    fn written<T: Packed>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        value.put(&mut out);
        out
    }

    fn by_hand<T: Packed>(body: &[u8]) -> Option<T> {
        let mut reader = Reader::new(body);
        T::take(&mut reader).ok().filter(|_| reader.rest().is_empty())
    }

    fn by_postcard<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
        postcard::take_from_bytes(body).ok().filter(|(_, rest)| rest.is_empty()).map(|(v, _)| v)
    }

    /// The same bytes as postcard's; and bytes with one changed, and cut, are read the same.
    fn is_alike<T>(value: &T, at: Index, byte: u8, cut: Index)
    where
        T: Packed + Serialize + DeserializeOwned + PartialEq + Debug,
    {
        let mut body = written(value);
        assert_eq!(body, postcard::to_allocvec(value).expect("memory"));
        assert_eq!(by_hand::<T>(&body).as_ref(), Some(value));
        let at = at.index(body.len());
        body[at] = byte;
        assert_eq!(by_hand::<T>(&body), by_postcard::<T>(&body));
        body.truncate(cut.index(body.len() + 1));
        assert_eq!(by_hand::<T>(&body), by_postcard::<T>(&body));
    }

    proptest! {
        #[test]
        fn bodies_are_those_of_postcard(
            hello in hello(),
            unit in unit(),
            refusal in refusal(),
            pulse in pulse(),
            news in news(),
            (at, byte, cut) in any::<(Index, u8, Index)>(),
        ) {
            is_alike(&hello, at, byte, cut);
            is_alike(&unit, at, byte, cut);
            is_alike(&unit.changes, at, byte, cut);
            is_alike(&refusal, at, byte, cut);
            is_alike(&pulse, at, byte, cut);
            is_alike(&news, at, byte, cut);
            is_alike(&(news.vector, pulse.caught_up), at, byte, cut);
        }

        #[test]
        fn any_bytes_are_read_as_postcard_reads_them(
            body in vec(prop_oneof![any::<u8>(), 0x80..=0xffu8, 0..3u8], 0..80),
        ) {
            prop_assert_eq!(by_hand::<Vector>(&body), by_postcard(&body));
            prop_assert_eq!(by_hand::<News>(&body), by_postcard(&body));
            prop_assert_eq!(by_hand::<Hello>(&body), by_postcard(&body));
            prop_assert_eq!(by_hand::<Unit>(&body), by_postcard(&body));
            prop_assert_eq!(by_hand::<Refusal>(&body), by_postcard(&body));
        }
    }
}
