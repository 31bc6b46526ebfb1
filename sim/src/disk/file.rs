//! A file that grows at its end, as a kernel keeps it: what is read back, and what of it would be there after a
//! loss of power. Places are counted from the beginning of the file's life; its front may be cut off.

use std::ops::Range;

use crate::decide::{Decisions, Kind};

/// What a device writes as a whole.
const SECTOR_BYTES: u64 = 512;

/// One file in the page cache and on the device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct File {
    /// As processes read it.
    bytes: Vec<u8>,
    /// Where `bytes` begins.
    start: u64,
    /// Everything before this is on the device, but for `doomed`.
    synced: u64,
    /// What a failed fsync has left in the page cache only: the kernel takes it for written, so that no later
    /// fsync writes it either. In order; ranges do not touch.
    doomed: Vec<Range<u64>>,
}

impl File {
    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Everything before `to` is on the device now, but for what an earlier failure has doomed.
    pub fn sync(&mut self, to: u64) {
        self.synced = self.synced.max(to.min(self.end()));
    }

    /// The device refuses: what was not on it yet stays in the page cache for ever.
    pub fn fail_sync(&mut self) {
        let (from, to) = (self.synced, self.end());
        if from == to {
            return;
        }
        match self.doomed.last_mut() {
            Some(last) if last.end == from => last.end = to,
            Some(_) | None => self.doomed.push(from..to),
        }
        self.synced = to;
    }

    /// Everything from here on is written once more, with the same bytes.
    pub fn write_again(&mut self, from: u64) {
        self.doomed.retain_mut(|range| {
            range.end = range.end.min(from);
            range.start < range.end
        });
        self.synced = self.synced.min(from.max(self.start));
    }

    /// The power goes. What is not on the device may still have been written by then: sectors from the front, cut
    /// anywhere, with zeros after the cut where the length was written and the bytes were not. Where a failed fsync
    /// has left a hole, zeros come back.
    pub fn lose_power(&mut self, decisions: &mut Decisions) {
        let end = self.end();
        let doomed = std::mem::take(&mut self.doomed);
        for range in &doomed {
            let (from, to) = (self.place(range.start), self.place(range.end));
            self.bytes[from..to].fill(0);
        }
        // Behind the last byte that is on the device for certain everything is open.
        let tail = match doomed.last() {
            Some(last) if last.end == self.synced => last.start,
            Some(_) | None => self.synced,
        };
        let lost = decisions.decide(Kind::Disk, end - tail + 1);
        let kept = end - lost;
        // The sector of the cut may have been written as a whole, before the bytes behind the cut came.
        let sector = kept.next_multiple_of(SECTOR_BYTES).min(end);
        let zeros = decisions.decide(Kind::Disk, 4) == 3;
        let length = if zeros { sector } else { kept };
        let (cut, length) = (self.place(kept), self.place(length));
        self.bytes.truncate(length);
        self.bytes[cut..].fill(0);
        self.synced = self.end();
    }

    /// Gives the front up to this place back.
    pub fn cut_front(&mut self, to: u64) {
        let place = self.place(to);
        self.bytes.drain(..place);
        self.start = to;
        self.synced = self.synced.max(to);
        self.doomed.retain_mut(|range| {
            range.start = range.start.max(to);
            range.start < range.end
        });
    }

    /// Gives everything from this place on back.
    pub fn cut_end(&mut self, to: u64) {
        let place = self.place(to);
        self.bytes.truncate(place);
        self.synced = self.synced.min(to);
        self.doomed.retain_mut(|range| {
            range.end = range.end.min(to);
            range.start < range.end
        });
    }

    /// One bit turns over.
    pub fn flip(&mut self, at: u64, bit: u32) {
        let place = self.place(at);
        self.bytes[place] ^= 1 << bit;
    }

    /// As a copy of the device shows it: without what is in the page cache only.
    pub fn on_device(&self) -> File {
        let mut copy = self.clone();
        copy.cut_end(self.synced);
        copy.lose_power(&mut Decisions::from_recorded(&[]));
        copy
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where it begins, counted from the beginning of its life.
    pub fn start(&self) -> u64 {
        self.start
    }

    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Bytes that an fsync would have to write.
    pub fn unsynced_bytes(&self) -> u64 {
        self.end() - self.synced
    }

    /// # Panics
    /// If the file takes bytes for written that it does not have.
    pub fn synced_never_passes_the_end(&self) {
        assert!(self.start <= self.synced && self.synced <= self.end(), "{self:?}");
        assert!(self.doomed.iter().all(|d| self.start <= d.start && d.start < d.end));
        assert!(self.doomed.last().is_none_or(|last| last.end <= self.synced));
        assert!(self.doomed.windows(2).all(|pair| pair[0].end < pair[1].start));
    }

    fn place(&self, at: u64) -> usize {
        assert!(self.start <= at && at <= self.end(), "{at} is not in the file");
        (at - self.start) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: &[u8] = &[7; 3000];

    /// A file with so many bytes on the device, and so many more that are not.
    fn file(synced: usize, more: usize) -> File {
        let mut file = File::default();
        file.append(&BYTES[..synced]);
        file.sync(file.end());
        file.append(&BYTES[..more]);
        file.synced_never_passes_the_end();
        file
    }

    fn after_power_loss(file: &File, seed: u64) -> File {
        let mut file = file.clone();
        file.lose_power(&mut Decisions::from_seed(seed));
        file.synced_never_passes_the_end();
        file
    }

    #[test]
    fn what_is_synced_survives_and_the_rest_is_cut_anywhere() {
        let before = file(1000, 2000);
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let after = after_power_loss(&before, seed);
            assert!(after.bytes()[..1000] == BYTES[..1000]);
            let written = after.bytes().iter().take_while(|b| **b == 7).count();
            assert!(after.bytes()[written..].iter().all(|b| *b == 0), "only zeros after the cut");
            assert!(after.bytes().len() - written < SECTOR_BYTES as usize);
            assert_eq!(after.unsynced_bytes(), 0);
            lengths.insert(written);
        }
        assert!(lengths.len() > 150, "cut at {} places", lengths.len());
        assert!(lengths.iter().any(|length| *length % 512 != 0));
    }

    #[test]
    fn the_dull_choice_loses_nothing() {
        let mut after = file(10, 20);
        after.lose_power(&mut Decisions::from_recorded(&[]));
        assert_eq!(after.bytes(), &BYTES[..30]);
    }

    #[test]
    fn zeros_follow_the_cut_in_some_of_the_losses() {
        let before = file(1000, 1000);
        let zeros = (0..400).filter(|seed| after_power_loss(&before, *seed).bytes().contains(&0));
        let zeros = zeros.count();
        assert!((50..150).contains(&zeros), "{zeros} of 400");
    }

    #[test]
    fn what_a_failed_sync_leaves_is_read_but_never_written() {
        let mut file = file(100, 50);
        file.fail_sync();
        assert_eq!(file.bytes(), &BYTES[..150], "the page cache still has it");
        file.append(&BYTES[..200]);
        file.sync(file.end());
        file.synced_never_passes_the_end();
        for seed in 0..50 {
            let after = after_power_loss(&file, seed);
            assert!(after.bytes()[..100] == BYTES[..100]);
            assert!(after.bytes()[100..150] == [0; 50], "a hole in the middle");
            assert!(after.bytes()[150..] == BYTES[..200]);
        }
    }

    #[test]
    fn what_is_written_again_is_on_the_device_after_the_next_sync() {
        let mut file = file(100, 50);
        file.fail_sync();
        file.write_again(120);
        file.synced_never_passes_the_end();
        assert_eq!(file.unsynced_bytes(), 30);
        file.sync(file.end());
        let after = after_power_loss(&file, 1);
        assert_eq!(after.bytes()[100..120], [0; 20], "not what was left out");
        assert_eq!(after.bytes()[120..], BYTES[..30]);
        file.fail_sync();
        file.write_again(0);
        file.sync(file.end());
        assert_eq!(after_power_loss(&file, 2).bytes(), &BYTES[..150]);
    }

    #[test]
    fn failed_syncs_in_a_row_make_one_hole_which_may_be_cut_off() {
        let mut file = file(100, 50);
        file.fail_sync();
        file.append(&BYTES[..50]);
        file.fail_sync();
        file.synced_never_passes_the_end();
        for seed in 0..50 {
            let after = after_power_loss(&file, seed);
            assert!(after.bytes()[..100] == BYTES[..100]);
            assert!(after.bytes()[100..].iter().all(|b| *b == 0));
        }
        file.cut_end(120);
        file.synced_never_passes_the_end();
        assert_eq!(after_power_loss(&file, 1).bytes()[..100], BYTES[..100]);
    }

    #[test]
    fn the_front_can_be_given_back() {
        let mut file = file(100, 50);
        file.cut_front(40);
        file.synced_never_passes_the_end();
        assert_eq!((file.start(), file.end(), file.bytes().len()), (40, 150, 110));
        file.cut_front(120);
        file.synced_never_passes_the_end();
        assert_eq!(file.unsynced_bytes(), 30);
        file.flip(130, 3);
        assert_eq!(file.bytes()[10], 7 ^ 8);
    }

    #[test]
    fn a_copy_of_the_device_has_nothing_of_the_page_cache() {
        let mut file = file(100, 50);
        assert_eq!(file.on_device().bytes(), &BYTES[..100]);
        file.fail_sync();
        file.append(b"more");
        file.sync(file.end());
        let copy = file.on_device();
        assert_eq!(copy.bytes()[100..150], [0; 50]);
        assert_eq!(&copy.bytes()[150..], b"more");
    }
}
