//! What a snapshot of the log holds in strong mode: the node's own state, then each partition as it was when some record
//! had been written, then the end. Records of a partition up to its own say nothing new.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::ids::{Lsn, Partition};

use super::council::Ballot;
use super::frame::BadFrame;
use super::message::Durable;
use super::part::Part;
use super::regime::{Configuration, Proposal, Regime, Start, VoterId};
use super::standing::Standing;
use super::tail::{Entry, History, KeyChange, Tail};
use super::trust::{Known, Life, Mark};
use super::{Copies, Strong};

/// A piece of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Image {
    Node(Box<NodeImage>),
    Part(Box<PartImage>),
    /// All is there.
    End,
}

/// All but the partitions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeImage {
    mark: Mark,
    lives: Vec<(Start, Life)>,
    formers: Vec<VoterId>,
    amnesiac: bool,
    known: Vec<(VoterId, Mark, bool)>,
    /// The rosters in force, the oldest first.
    rosters: Vec<Standing>,
    /// The first one, while not all its nodes are known to have accepted it.
    proposed: Option<Standing>,
    /// The highest ballot promised for the next decision, and what was accepted for it.
    promised: Ballot,
    accepted: Option<(Ballot, Standing)>,
    /// What is written is told only when it is durable.
    pub always: bool,
}

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartImage {
    of: Partition,
    promised: Regime,
    accepted: Vec<Proposal>,
    chosen: Configuration,
    intact: Option<Start>,
    /// Of what is committed; it stands in `records`.
    history: History,
    open: Vec<Entry>,
    records: Vec<KeyChange>,
}

impl Image {
    pub fn to_bytes(&self) -> Bytes {
        let bytes = postcard::to_extend(self, Vec::new());
        bytes.unwrap_or_else(|_| unreachable!("memory grows")).into()
    }

    /// Reads a piece's contents.
    ///
    /// # Errors
    /// They are none.
    pub fn from_bytes(contents: &[u8]) -> Result<Image, BadFrame> {
        match postcard::take_from_bytes(contents) {
            Ok((image, [])) => Ok(image),
            Ok(_) | Err(_) => Err(BadFrame),
        }
    }
}

impl Strong {
    pub fn node_image(&self, always: bool) -> Image {
        let known = self.known.iter().map(|(&voter, known)| (voter, known.mark, known.amnesiac));
        Image::Node(Box::new(NodeImage {
            mark: self.mark(),
            lives: self.lives.iter().map(|(&start, &life)| (start, life)).collect(),
            formers: self.formers.clone(),
            amnesiac: self.amnesiac,
            known: known.collect(),
            rosters: self.rosters.all().cloned().collect(),
            proposed: self.proposed.as_ref().map(|(standing, _)| standing.clone()),
            promised: self.council.promised,
            accepted: self.council.accepted.clone(),
            always,
        }))
    }

    pub fn part_image(&self, of: Partition, copies: &dyn Copies) -> Image {
        let part = self.at(of);
        let (history, open) = part.tail.image();
        Image::Part(Box::new(PartImage {
            of,
            promised: part.promised,
            accepted: part.accepted.clone(),
            chosen: part.chosen.clone(),
            intact: part.intact,
            history,
            open,
            records: copies.read(of),
        }))
    }

    /// Takes in a piece of a snapshot, made when the record `lsn` had been written: before all records.
    ///
    /// # Errors
    /// It is of another number of partitions.
    pub fn restore(
        &mut self,
        image: Image,
        lsn: Lsn,
        copies: &mut dyn Copies,
    ) -> Result<(), BadFrame> {
        match image {
            Image::Node(node) => {
                let Mark { start, nonce, lost_at, begun, written } = node.mark;
                (self.start, self.nonce, self.lost_at) = (start, nonce, lost_at);
                (self.begun, self.written) = (begun, written);
                self.lives = node.lives.into_iter().collect();
                self.formers = node.formers;
                self.amnesiac = node.amnesiac;
                let known = node.known.into_iter();
                self.known = known
                    .map(|(voter, mark, amnesiac)| (voter, Known { mark, amnesiac }))
                    .collect();
                for standing in node.rosters {
                    self.adopt(standing);
                }
                self.proposed = node.proposed.map(|standing| (standing, [].into()));
                (self.council.promised, self.council.accepted) = (node.promised, node.accepted);
                self.covered = vec![Lsn(0); usize::from(self.config.partitions)];
            }
            Image::Part(image) => {
                let at = usize::from(image.of.0);
                let covered = self.covered.get_mut(at).ok_or(BadFrame)?;
                *covered = lsn;
                let mut part = Part::new(image.chosen, image.intact);
                part.promised = image.promised;
                part.note(image.promised);
                part.accepted = image.accepted;
                part.tail = Tail::whole(image.history);
                image.open.into_iter().for_each(|entry| part.tail.push(entry));
                self.parts[at] = part;
                copies.apply(image.of, &image.records);
            }
            Image::End => {}
        }
        Ok(())
    }

    /// Whether a snapshot shows what the record `lsn` has done to its partition.
    pub(super) fn is_covered(&self, record: &Durable, lsn: Lsn) -> bool {
        let of = match record {
            Durable::Start { .. }
            | Durable::Stopped
            | Durable::Amnesiac
            | Durable::Seen { .. }
            | Durable::SeenMore { .. }
            | Durable::Roster { .. }
            | Durable::RosterHeld
            | Durable::Decided { .. }
            | Durable::CouncilPromise { .. }
            | Durable::CouncilAccept { .. }
            | Durable::NewVoter { .. } => return false,
            Durable::Promise { of, .. }
            | Durable::Accept { of, .. }
            | Durable::Chosen { of, .. }
            | Durable::Entry { of, .. }
            | Durable::Committed { of, .. }
            | Durable::Truncate { of, .. }
            | Durable::Whole { of, .. }
            | Durable::Intact { of }
            | Durable::Dropped { of } => *of,
        };
        self.covered.get(usize::from(of.0)).is_some_and(|&covered| lsn <= covered)
    }
}
