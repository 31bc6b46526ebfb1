//! Collections: the elements of one kind that a key holds. A small one is one run of bytes; one that has grown, or has a
//! counter, is a table of entries.

mod big;
pub mod packed;

use std::fmt;

use crate::base::stamp::Stamp;
use crate::base::time::UnixMs;
use crate::base::unit::Kind;

use self::big::Big;
pub use self::big::element_digest;
use self::packed::{BYTES_MAX, Packed, RECORDS_MAX, Record};
use super::Scalar;
use super::entry::malloc_bytes;
use super::merge::Draft;
use super::state::{Shape, View, clamp};
use super::table::KeyHasher;

/// The elements of one kind of a key.
#[derive(Clone)]
pub struct Collection {
    /// Of the newest key cell of this kind; zero without one.
    born: Stamp,
    form: Form,
}

#[derive(Clone)]
enum Form {
    Packed(Vec<u8>),
    Big(Kind, Box<Big>),
}

/// What one element comes to in its collection's figures.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Figures {
    live: bool,
    digest: u64,
    contributions: u64,
    oldest: Stamp,
    newest: u64,
    waits: Option<u64>,
}

impl Figures {
    fn of(name: &[u8], view: &View<'_>) -> Figures {
        let stamps = view.base.iter().map(|base| base.stamp);
        let grown = view.contributions().iter().map(|c| Stamp::new(c.last, c.origin));
        let live = view.exists();
        Figures {
            live,
            digest: element_digest(name, view),
            contributions: view.contributions().len() as u64,
            oldest: stamps.chain(grown).min().unwrap_or(Stamp::ZERO),
            newest: view.newest_time(),
            waits: if live { view.next_droppable() } else { Some(view.newest_time()) },
        }
    }
}

/// A collection, for reading, wherever it lies.
#[derive(Copy, Clone)]
pub enum Elements<'a> {
    Packed(Packed<'a>),
    Big(Kind, Stamp, &'a Big),
}

impl<'a> Elements<'a> {
    pub fn kind(self) -> Kind {
        match self {
            Elements::Packed(packed) => packed.kind(),
            Elements::Big(kind, ..) => kind,
        }
    }

    pub fn born(self) -> Stamp {
        match self {
            Elements::Packed(packed) => packed.born,
            Elements::Big(_, born, _) => born,
        }
    }

    /// Elements that a client sees, if it sees the key.
    pub fn live(self) -> usize {
        match self {
            Elements::Packed(packed) => packed.live(),
            Elements::Big(.., big) => big.live,
        }
    }

    /// Of live elements only.
    pub fn digest(self) -> u64 {
        match self {
            Elements::Packed(packed) => packed.digest(),
            Elements::Big(.., big) => big.digest,
        }
    }

    pub fn contributions(self) -> u64 {
        match self {
            Elements::Packed(_) => 0,
            Elements::Big(.., big) => big.contributions,
        }
    }

    /// No stamp in it is newer.
    pub fn newest_time(self) -> u64 {
        let newest = match self {
            Elements::Packed(packed) => {
                packed.records().map(|record| record.base.stamp.time).max().unwrap_or(0)
            }
            Elements::Big(.., big) => big.newest,
        };
        newest.max(self.born().time)
    }

    /// The smallest horizon at which something of an element can be dropped.
    pub fn waits(self) -> Option<u64> {
        match self {
            Elements::Packed(packed) if packed.live() == packed.held() => None,
            Elements::Packed(packed) => {
                let dead = packed.records().filter(|record| !record.base.live);
                dead.map(|record| record.base.stamp.time).min()
            }
            Elements::Big(.., big) => big.waits(),
        }
    }

    #[inline]
    pub fn view(self, name: &[u8]) -> Option<View<'a>> {
        match self {
            Elements::Packed(packed) => packed.find(name).map(Record::view),
            Elements::Big(.., big) => big.view(name),
        }
    }

    /// All elements, dead ones included: of a small collection in the order in which they came.
    pub fn iter(self) -> Box<dyn Iterator<Item = (&'a [u8], View<'a>)> + 'a> {
        match self {
            Elements::Packed(packed) => {
                Box::new(packed.records().map(|record| (record.name, record.view())))
            }
            Elements::Big(.., big) => Box::new(big.iter()),
        }
    }

    /// The live elements with their values.
    pub fn shown(self) -> impl Iterator<Item = (&'a [u8], Scalar<'a>)> {
        self.iter().filter_map(|(name, view)| Some((name, scalar_of(&view)?)))
    }

    /// A live element's value.
    #[inline]
    pub fn get(self, name: &[u8]) -> Option<Scalar<'a>> {
        self.view(name).and_then(|view| scalar_of(&view))
    }

    /// One step of a walk in hash order: the elements of at least `count` places, then the next cursor, 0 at the end. A
    /// small collection is walked in one step.
    pub fn scan(
        self,
        cursor: u64,
        count: usize,
        each: &mut dyn FnMut(&'a [u8], Scalar<'a>),
    ) -> u64 {
        // So many upper bits of a hash: what clients that read cursors as floating-point numbers keep exactly.
        const SHIFT: u32 = 64 - 53;
        let Elements::Big(.., big) = self else {
            self.shown().for_each(|(name, value)| each(name, value));
            return 0;
        };
        let from = big.table.seek(cursor << SHIFT, big.hasher());
        let mut last = None;
        let entries = big.table.iter_from(from.unwrap_or(big.table.slot_count()));
        for (looked_at, entry) in entries.enumerate() {
            let group = big.hasher().hash(entry.key()) >> SHIFT;
            if looked_at >= count.max(1) && last != Some(group) {
                return group.max(1);
            }
            last = Some(group);
            if let Some(value) = scalar_of(&super::commit::view_of(entry)) {
                each(entry.key(), value);
            }
        }
        0
    }

    /// The live element at or behind a random place, each about as likely.
    pub fn at_random(self, place: u64) -> Option<(&'a [u8], Scalar<'a>)> {
        match self {
            Elements::Packed(packed) => {
                let live = packed.live();
                let nth = ((u128::from(place) * live as u128) >> 64) as usize;
                let mut records = packed.records().filter(|record| record.base.live);
                records.nth(nth).map(|record| (record.name, Scalar::Bytes(record.value)))
            }
            Elements::Big(.., big) => {
                let slots = big.table.slot_count();
                let first = ((u128::from(place) * slots as u128) >> 64) as usize;
                let all = big.table.iter_from(first).chain(big.table.iter_from(0));
                let mut shown = all.filter_map(|entry| {
                    Some((entry.key(), scalar_of(&super::commit::view_of(entry))?))
                });
                shown.next()
            }
        }
    }
}

fn scalar_of<'a>(view: &View<'a>) -> Option<Scalar<'a>> {
    match view.content(UnixMs(0))? {
        Shape::Bytes(bytes) => Some(Scalar::Bytes(bytes)),
        Shape::Number(number) => Some(Scalar::Int(clamp(number))),
        Shape::Elements(_) => None,
    }
}

impl Collection {
    pub fn new(kind: Kind) -> Collection {
        Collection { born: Stamp::ZERO, form: Form::Packed(packed::empty(kind)) }
    }

    pub fn of(packed: Packed<'_>) -> Collection {
        Collection { born: packed.born, form: Form::Packed(packed.bytes.to_vec()) }
    }

    pub fn elements(&self) -> Elements<'_> {
        match &self.form {
            Form::Packed(bytes) => Elements::Packed(Packed { born: self.born, bytes }),
            Form::Big(kind, big) => Elements::Big(*kind, self.born, big),
        }
    }

    /// Its bytes, if it is small.
    pub fn packed(&self) -> Option<Packed<'_>> {
        match &self.form {
            Form::Packed(bytes) => Some(Packed { born: self.born, bytes }),
            Form::Big(..) => None,
        }
    }

    /// Whether nothing of it is held, not even a key cell.
    pub fn is_nothing(&self) -> bool {
        self.born == Stamp::ZERO && self.is_empty()
    }

    /// Whether no element is held, not even a dead one.
    pub fn is_empty(&self) -> bool {
        match &self.form {
            Form::Packed(bytes) => Packed { born: self.born, bytes }.held() == 0,
            Form::Big(_, big) => big.held() == 0,
        }
    }

    pub fn set_born(&mut self, born: Stamp) {
        if let Form::Packed(bytes) = &mut self.form {
            packed::set_born(bytes, self.born, born);
        }
        self.born = born;
    }

    /// Changes one element, held or not. `change` says whether it changed anything, and so does this.
    pub fn edit<'v>(
        &mut self,
        name: &[u8],
        hasher: &KeyHasher,
        change: impl FnOnce(&mut Draft<'_, 'v>) -> bool,
    ) -> bool {
        let bytes = match &mut self.form {
            Form::Big(_, big) => return big.edit(name, change),
            Form::Packed(bytes) => bytes,
        };
        let packed = Packed { born: self.born, bytes };
        let (found, held) = match packed.locate(name) {
            Some((found, record)) => (found, Some(record)),
            None => (packed.end(), None),
        };
        let before = held.map(|record| Figures::of(name, &record.view()));
        let (base, value) = held.map_or((None, &[][..]), |held| (Some(held.base), held.value));
        let mut draft = Draft::new(base, value, None, None, hasher);
        if !change(&mut draft) {
            return false;
        }
        if draft.is_empty() && held.is_none() {
            return false;
        }
        let view = draft.view();
        let after = (!draft.is_empty()).then(|| Figures::of(name, &view));
        let count = packed.held() + usize::from(after.is_some()) - usize::from(before.is_some());
        let grown = bytes.len() + name.len() + view.value.len();
        let fits = count <= RECORDS_MAX && grown <= BYTES_MAX;
        if draft.is_empty() || (draft.fits_a_record() && fits) {
            let live = |figures: &Option<Figures>| usize::from(figures.is_some_and(|f| f.live));
            let digest = |figures: &Option<Figures>| figures.map_or(0, |f| f.digest);
            let live = packed.live() + live(&after) - live(&before);
            let digest = packed.digest() ^ digest(&before) ^ digest(&after);
            // (The value may lie in the very bytes that are about to be changed.)
            let value = view.value.to_vec();
            let record = view.base.filter(|_| after.is_some());
            let record = record.map(|base| Record { name, base, value: &value });
            packed::replace(self.born, bytes, &found, record);
            packed::set_head(bytes, live, count, digest);
            return true;
        }
        let parts = draft.into_parts();
        let value = parts.value.unwrap_or(value).to_vec();
        let big = self.grown(hasher);
        big.edit(name, |draft| {
            draft.restore(parts.base, parts.side);
            draft.edit_value(&value)
        });
        true
    }

    /// Removes what `bound` says of every element, older than that; `removes` tells of each cell.
    pub fn prune(
        &mut self,
        bound: Stamp,
        hasher: &KeyHasher,
        removes: &dyn Fn(Stamp) -> bool,
    ) -> bool {
        let names = match &mut self.form {
            Form::Big(_, big) => big.older(bound),
            Form::Packed(bytes) => {
                let records = Packed { born: self.born, bytes }.records();
                let old = records.filter(|record| removes(record.base.stamp));
                old.map(|record| record.name.into()).collect()
            }
        };
        let mut removed = false;
        for name in names {
            removed |= self.edit(&name, hasher, |draft| draft.remove_cells(removes));
        }
        removed
    }

    /// Drops what is at or below `horizon` and means nothing any more.
    pub fn collect(&mut self, horizon: u64, hasher: &KeyHasher) {
        let names = match &self.form {
            Form::Big(_, big) => big.droppable(horizon),
            Form::Packed(bytes) => {
                let records = Packed { born: self.born, bytes }.records();
                let dead = |r: &Record<'_>| !r.base.live && r.base.stamp.time <= horizon;
                records.filter(dead).map(|record| record.name.into()).collect()
            }
        };
        for name in names {
            self.edit(&name, hasher, |draft| {
                draft.collect_element(horizon);
                true
            });
        }
    }

    /// Changes every element, dead ones included.
    pub fn edit_all(
        &mut self,
        hasher: &KeyHasher,
        mut change: impl FnMut(&mut Draft<'_, '_>) -> bool,
    ) -> bool {
        let names: Vec<Box<[u8]>> = self.elements().iter().map(|(name, _)| name.into()).collect();
        let mut changed = false;
        for name in names {
            changed |= self.edit(&name, hasher, &mut change);
        }
        changed
    }

    pub fn used_bytes(&self) -> usize {
        match &self.form {
            Form::Packed(bytes) => malloc_bytes(bytes.len()),
            Form::Big(_, big) => big.used_bytes(),
        }
    }

    /// From now on a table of entries.
    fn grown(&mut self, hasher: &KeyHasher) -> &mut Big {
        if let Form::Packed(bytes) = &self.form {
            let packed = Packed { born: self.born, bytes };
            let mut big = Big::new(hasher);
            for record in packed.records() {
                let value = record.value.to_vec();
                big.edit(record.name, |draft| {
                    draft.restore(Some(record.base), None);
                    draft.edit_value(&value)
                });
            }
            self.form = Form::Big(packed.kind(), Box::new(big));
        }
        match &mut self.form {
            Form::Big(_, big) => big,
            Form::Packed(_) => unreachable!("it has just been made one"),
        }
    }
}

/// Equal if they hold the same cells.
impl PartialEq for Collection {
    fn eq(&self, other: &Collection) -> bool {
        let (one, two) = (self.elements(), other.elements());
        (one.kind(), one.born(), one.live()) == (two.kind(), two.born(), two.live())
            && one.iter().count() == two.iter().count()
            && one.iter().all(|(name, view)| {
                two.view(name).is_some_and(|v| {
                    (v.base, v.value, v.side) == (view.base, view.value, view.side)
                })
            })
    }
}

impl Eq for Collection {}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.elements();
        let shown = |(name, view): (&[u8], View<'_>)| {
            format!("{} {:?} {:?} {:?}", name.escape_ascii(), view.base, view.value, view.side)
        };
        let names: Vec<String> = all.iter().map(shown).collect();
        f.debug_struct("Collection")
            .field("kind", &all.kind())
            .field("born", &all.born())
            .field("elements", &names)
            .finish()
    }
}
