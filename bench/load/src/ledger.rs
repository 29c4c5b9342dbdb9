//! What was promised and what was heard: the counting that decides whether a chat run was right.
//!
//! Every message carries a note in its content: pair, side, the sender's own sequence number, and when it was meant to be sent.
//! Each socket keeps a `Record`; after the run the two records of a pair are compared.

use std::collections::BTreeMap;

/// A growing set of sequence numbers.
#[derive(Default)]
pub struct Numbers(Vec<u64>);

impl Numbers {
    /// Adds a number; false when it was there already.
    pub fn insert(&mut self, number: u64) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// How many of these are not in `other`.
    pub fn missing_in(&self, other: &Numbers) -> u64 {
        let theirs = other.0.iter().copied().chain(std::iter::repeat(0));
        self.0.iter().zip(theirs).map(|(ours, theirs)| u64::from((ours & !theirs).count_ones())).sum()
    }

    /// How many are in both.
    pub fn shared_with(&self, other: &Numbers) -> u64 {
        self.len() - self.missing_in(other)
    }
}

/// What a message says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    pub pair: u32,
    pub side: usize,
    /// The sender's own count, from 1: it serves as ack id too, and 0 is the join.
    pub number: u64,
    /// When it was meant to be sent, microseconds since the start of the run.
    pub meant_us: u64,
}

impl Note {
    /// Reads the start of a content written by `write_content`; `None` for anything else.
    pub fn read(content: &str, run: u32) -> Option<Note> {
        let mut parts = content.splitn(6, '.');
        let of_this_run = u32::from_str_radix(parts.next()?, 16).ok()? == run;
        let pair = parts.next()?.parse().ok()?;
        let side = parts.next()?.parse().ok().filter(|side| *side < 2)?;
        let number = parts.next()?.parse().ok()?;
        let meant_us = parts.next()?.parse().ok()?;
        parts.next()?;
        of_this_run.then_some(Note { pair, side, number, meant_us })
    }
}

/// What one socket did and heard.
#[derive(Default)]
pub struct Record {
    pub pair: u32,
    pub side: usize,
    /// Whether this socket is in the conversation and must hear everything.
    pub listens: bool,
    pub sent: u64,
    pub acked: Numbers,
    pub refused: Numbers,
    pub refusals: BTreeMap<String, u64>,
    /// Heard from each side, first and later.
    pub heard: [Numbers; 2],
    pub doubled: u64,
    /// A sender's own numbers went backwards.
    pub out_of_order_by_number: u64,
    /// The server's `_id` did not grow: then listeners need not agree on one order.
    pub out_of_order_by_id: u64,
    /// `dm:new_message` for another conversation.
    pub previews: u64,
    /// Messages of another conversation, or not ours at all.
    pub strangers: u64,
    pub disconnected: bool,
    last_number: [u64; 2],
    last_id: String,
}

impl Record {
    /// An empty record of one socket.
    pub fn new(pair: u32, side: usize, listens: bool) -> Self {
        Self { pair, side, listens, ..Self::default() }
    }

    /// Notes a delivery; true when it is the first of this message.
    pub fn hear(&mut self, note: Note, id: &str) -> bool {
        if !self.heard[note.side].insert(note.number) {
            self.doubled += 1;
            return false;
        }
        if note.number <= self.last_number[note.side] {
            self.out_of_order_by_number += 1;
        } else {
            self.last_number[note.side] = note.number;
        }
        if id <= self.last_id.as_str() {
            self.out_of_order_by_id += 1;
        } else {
            self.last_id.clear();
            self.last_id.push_str(id);
        }
        true
    }
}

/// The sum over all pairs.
#[derive(Default)]
pub struct Totals {
    pub sent: u64,
    pub acked: u64,
    pub refused: u64,
    pub refusals: BTreeMap<String, u64>,
    /// Sent and neither acked nor refused by the end of the grace.
    pub unanswered: u64,
    pub heard_at_peer: u64,
    pub heard_at_sender: u64,
    /// Acked but never heard at the peer.
    pub lost: u64,
    /// Acked but never heard at the sender, where it listens.
    pub lost_at_sender: u64,
    /// Refused and heard all the same.
    pub refused_but_heard: u64,
    pub doubled: u64,
    pub out_of_order_by_number: u64,
    pub out_of_order_by_id: u64,
    pub previews: u64,
    pub strangers: u64,
    pub disconnected: u64,
}

impl Totals {
    /// Compares the records of each pair. Records may come in any order.
    pub fn of(mut records: Vec<Record>) -> Totals {
        records.sort_by_key(|record| (record.pair, record.side));
        let mut totals = Totals::default();
        for pair in records.chunks(2) {
            for (side, from) in pair.iter().enumerate() {
                totals.add(from);
                for listener in pair {
                    totals.compare(from, listener, side);
                }
            }
        }
        totals
    }

    /// Compares what one sender said with what every other socket of its conversation heard.
    pub fn of_room(sender: &Record, listeners: &[Record]) -> Totals {
        let mut totals = Totals::default();
        for record in std::iter::once(sender).chain(listeners) {
            totals.add(record);
            totals.compare(sender, record, sender.side);
        }
        totals
    }

    fn add(&mut self, record: &Record) {
        self.sent += record.sent;
        self.acked += record.acked.len();
        self.refused += record.refused.len();
        self.unanswered += record.sent - record.acked.len() - record.refused.len();
        self.doubled += record.doubled;
        self.out_of_order_by_number += record.out_of_order_by_number;
        self.out_of_order_by_id += record.out_of_order_by_id;
        self.previews += record.previews;
        self.strangers += record.strangers;
        self.disconnected += u64::from(record.disconnected);
        for (code, count) in &record.refusals {
            *self.refusals.entry(code.clone()).or_default() += count;
        }
    }

    fn compare(&mut self, from: &Record, listener: &Record, side: usize) {
        if !listener.listens {
            return;
        }
        let heard = &listener.heard[side];
        let (count, lost) = if listener.side == side {
            (&mut self.heard_at_sender, &mut self.lost_at_sender)
        } else {
            (&mut self.heard_at_peer, &mut self.lost)
        };
        *count += heard.len();
        *lost += from.acked.missing_in(heard);
        self.refused_but_heard += from.refused.shared_with(heard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(number: u64) -> Note {
        Note { pair: 0, side: 0, number, meant_us: 0 }
    }

    fn pair_after(heard: &[(u64, &str)], acked: &[u64]) -> Totals {
        let mut sender = Record { listens: false, sent: acked.len() as u64, ..Record::default() };
        let mut peer = Record { side: 1, listens: true, ..Record::default() };
        acked.iter().for_each(|number| assert!(sender.acked.insert(*number)));
        heard.iter().for_each(|(number, id)| {
            peer.hear(note(*number), id);
        });
        Totals::of(vec![peer, sender])
    }

    #[test]
    fn what_was_acked_and_never_heard_is_lost() {
        let totals = pair_after(&[(1, "a"), (3, "c")], &[1, 2, 3]);
        assert_eq!((totals.lost, totals.doubled, totals.out_of_order_by_number, totals.out_of_order_by_id), (1, 0, 0, 0));
    }

    #[test]
    fn a_second_hearing_is_doubled_and_not_out_of_order() {
        let totals = pair_after(&[(1, "a"), (2, "b"), (1, "a")], &[1, 2]);
        assert_eq!((totals.lost, totals.doubled, totals.out_of_order_by_number, totals.out_of_order_by_id), (0, 1, 0, 0));
    }

    #[test]
    fn order_is_checked_by_the_senders_number_and_by_the_servers_id() {
        let swapped = pair_after(&[(2, "b"), (1, "a")], &[1, 2]);
        assert_eq!((swapped.lost, swapped.out_of_order_by_number, swapped.out_of_order_by_id), (0, 1, 1));
        let renumbered = pair_after(&[(1, "b"), (2, "a")], &[1, 2]);
        assert_eq!((renumbered.out_of_order_by_number, renumbered.out_of_order_by_id), (0, 1));
    }

    #[test]
    fn a_note_is_read_back_only_in_its_own_run() {
        assert_eq!(Note::read("ab.7.1.42.99.xxx", 0xab), Some(Note { pair: 7, side: 1, number: 42, meant_us: 99 }));
        assert_eq!(Note::read("ac.7.1.42.99.xxx", 0xab), None);
        assert_eq!(Note::read("hello", 0xab), None);
    }
}
