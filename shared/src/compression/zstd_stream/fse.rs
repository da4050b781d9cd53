//! Tables of the entropy coder of zstd (RFC 8878, section 4.1): which symbol a state stands for, and which states may
//! come after it.

use super::bits::Forward;

/// The logarithm of the smallest table that has a description.
const LEAST_LOG: u8 = 5;
/// The most symbols that a table of sequences has (RFC 8878, section 3.1.1.3.2.1.1).
const MOST_SYMBOLS: usize = 53;

/// A state.
#[derive(Debug, Clone, Copy, Default)]
struct FseEntry {
    symbol: u8,
    /// How many bits are read for the next state, and what they are added to.
    bits: u8,
    base: u16,
}

/// The states of one kind of symbol.
#[derive(Debug, Clone)]
pub(super) struct Table {
    log: u8,
    entries: Vec<FseEntry>,
}

impl Table {
    /// One in which every symbol is the same, and none takes a bit.
    pub(super) fn of_one(symbol: u8) -> Self {
        let entry = FseEntry {
            symbol,
            ..FseEntry::default()
        };
        Self {
            log: 0,
            entries: vec![entry],
        }
    }

    /// One of 2^`log` states. Of these, each symbol has as many as its count says; −1 stands for one state that is rarer
    /// than all others. Together they have to have all.
    pub(super) fn of_counts(counts: &[i8], log: u8) -> Self {
        let wide: Vec<i16> = counts.iter().map(|count| i16::from(*count)).collect();
        Self::spread(&wide, log)
    }

    /// Reads a description of at most `symbols` symbols and 2^`most_log` states. With the table comes the number of bytes
    /// that it took.
    pub(super) fn read(input: &[u8], symbols: usize, most_log: u8) -> Option<(Self, usize)> {
        let mut bits = Forward::new(input);
        let log = u8::try_from(bits.read(4)?).ok()? + LEAST_LOG;
        if log > most_log {
            return None;
        }
        let mut counts = Vec::with_capacity(symbols);
        let mut left = 1_u32 << log;
        while left > 0 {
            let count = read_count(&mut bits, left)?;
            left = left.checked_sub(count.unsigned_abs().into())?;
            counts.push(count);
            if count == 0 {
                // How many more have none either; 3 says that another such number follows.
                loop {
                    let more = bits.read(2)?;
                    counts.extend((0..more).map(|_| 0));
                    if more < 3 {
                        break;
                    }
                }
            }
            if counts.len() > symbols {
                return None;
            }
        }
        Some((Self::spread(&counts, log), bits.bytes_read()))
    }

    /// Gives each symbol its states (RFC 8878, section 4.1.1).
    fn spread(counts: &[i16], log: u8) -> Self {
        let size = 1_usize << log;
        let mut entries = vec![FseEntry::default(); size];
        // The rare ones are at the end. `next` is the number of a symbol's next state, its count the first.
        let mut end = size;
        let mut next = [0_u16; MOST_SYMBOLS];
        let symbols = || (0_u8..).zip(counts);
        for (symbol, count) in symbols() {
            next[usize::from(symbol)] = count.unsigned_abs();
            if *count == -1 {
                end -= 1;
                entries[end].symbol = symbol;
            }
        }
        let step = (size >> 1) + (size >> 3) + 3;
        let mut at = 0;
        for (symbol, count) in symbols() {
            for _ in 0..*count {
                entries[at].symbol = symbol;
                at = (at + step) % size;
                while at >= end {
                    at = (at + step) % size;
                }
            }
        }
        for entry in &mut entries {
            let number = &mut next[usize::from(entry.symbol)];
            // The number has one bit more than the log when it is shifted, and that bit is the size.
            entry.bits = log - u8::try_from(number.ilog2()).unwrap_or_default();
            entry.base = (*number << entry.bits) & ((1 << log) - 1);
            *number += 1;
        }
        Self { log, entries }
    }

    /// How many bits a state has.
    pub(super) const fn log(&self) -> u8 {
        self.log
    }

    /// The symbol of a state.
    pub(super) fn symbol(&self, state: State) -> u8 {
        self.entry(state).symbol
    }

    /// How many bits are read for the state after this one.
    pub(super) fn bits(&self, state: State) -> u8 {
        self.entry(state).bits
    }

    /// The state after this one, for which `bits` were read.
    pub(super) fn next(&self, state: State, bits: u32) -> State {
        State(u32::from(self.entry(state).base) + bits)
    }

    /// A state of `symbol`, whichever comes first.
    pub(super) fn any(&self, symbol: u8) -> Option<State> {
        self.find(|entry| entry.symbol == symbol)
    }

    /// The state of `symbol` from which `next` is reached, and the bits for that.
    pub(super) fn before(&self, symbol: u8, next: State) -> Option<(State, u32)> {
        let bits = |entry: &FseEntry| {
            next.0
                .checked_sub(entry.base.into())
                .filter(|bits| bits >> entry.bits == 0)
        };
        let state = self.find(|entry| entry.symbol == symbol && bits(entry).is_some())?;
        Some((state, bits(&self.entry(state))?))
    }

    fn find(&self, is_it: impl FnMut(&FseEntry) -> bool) -> Option<State> {
        let at = self.entries.iter().position(is_it)?;
        Some(State(u32::try_from(at).ok()?))
    }

    /// A state is always one of this table; a log of 0 takes no bits.
    fn entry(&self, state: State) -> FseEntry {
        usize::try_from(state.0)
            .ok()
            .and_then(|at| self.entries.get(at))
            .copied()
            .unwrap_or_default()
    }
}

/// A state of a table, as it stands in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State(pub(super) u32);

/// The next count of a description, of which there are `left` in all. It is written with one added, and of the values
/// from 0 to `left` + 1 the lower ones take a bit less where not all values of the width are needed.
fn read_count(bits: &mut Forward<'_>, left: u32) -> Option<i16> {
    let most = left + 1;
    let width = u8::try_from(most.ilog2()).ok()?;
    let spared = (2 << width) - 1 - most;
    let low = bits.read(width)?;
    let has_more = low >= spared && bits.read(1)? == 1;
    let value = if has_more { low + (1 << width) - spared } else { low };
    Some(i16::try_from(value).ok()? - 1)
}
