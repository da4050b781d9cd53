//! Tables of FSE, the entropy coder of zstd (RFC 8878, section 4.1): the symbol of each state, and the states that can
//! follow it.

use super::bits::Forward;

/// The base-2 logarithm of the smallest table that has a description.
const LEAST_LOG: u8 = 5;
/// The most symbols of any table for sequences (RFC 8878, section 3.1.1.3.2.1.1).
const MOST_SYMBOLS: usize = 53;

/// The entry of a state.
#[derive(Debug, Clone, Copy, Default)]
struct FseEntry {
    symbol: u8,
    /// The number of bits to read for the next state. Their value is added to `base`.
    bits: u8,
    base: u16,
}

/// The table of one kind of symbol.
#[derive(Debug, Clone)]
pub(super) struct Table {
    log: u8,
    entries: Vec<FseEntry>,
}

impl Table {
    /// Creates a table in which all symbols are the same and take no bits.
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

    /// Creates a table of 2^`log` states. Each symbol has as many of them as its count says. A count of −1 stands for a
    /// single state of a symbol that is rarer than all others. The counts must add up to all states.
    pub(super) fn of_counts(counts: &[i8], log: u8) -> Self {
        let wide: Vec<i16> = counts.iter().map(|count| i16::from(*count)).collect();
        Self::spread(&wide, log)
    }

    /// Reads the description of a table of at most `symbols` symbols and 2^`most_log` states. Also returns the number
    /// of bytes read.
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
                // The number of further symbols without states. 3 means that another such number follows.
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

    /// Assigns each symbol its states (RFC 8878, section 4.1.1).
    fn spread(counts: &[i16], log: u8) -> Self {
        let size = 1_usize << log;
        let mut entries = vec![FseEntry::default(); size];
        // States of rare symbols are at the end. `next` numbers the states of each symbol, starting at its count.
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
            // Shifted, the number has `log` + 1 bits. The highest one is the size of the table and is masked out.
            entry.bits = log - u8::try_from(number.ilog2()).unwrap_or_default();
            entry.base = (*number << entry.bits) & ((1 << log) - 1);
            *number += 1;
        }
        Self { log, entries }
    }

    /// Returns the number of bits of a state.
    pub(super) const fn log(&self) -> u8 {
        self.log
    }

    /// Returns the symbol of a state.
    pub(super) fn symbol(&self, state: State) -> u8 {
        self.entry(state).symbol
    }

    /// Returns the number of bits to read for the next state.
    pub(super) fn bits(&self, state: State) -> u8 {
        self.entry(state).bits
    }

    /// Returns the state after this one, given the `bits` read for it.
    pub(super) fn next(&self, state: State, bits: u32) -> State {
        State(u32::from(self.entry(state).base) + bits)
    }

    /// Returns the first state of `symbol`.
    pub(super) fn any(&self, symbol: u8) -> Option<State> {
        self.find(|entry| entry.symbol == symbol)
    }

    /// Returns the state of `symbol` that leads to `next`, and the bits with which it does.
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

    /// Returns the entry of a state. The default is never used: every state of `log` bits is in the table.
    fn entry(&self, state: State) -> FseEntry {
        usize::try_from(state.0)
            .ok()
            .and_then(|at| self.entries.get(at))
            .copied()
            .unwrap_or_default()
    }
}

/// A state of a table, as encoded in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State(pub(super) u32);

/// Reads the next count of a description, in which `left` states remain. A count is stored plus one. The stored values
/// from 0 to `left` + 1 may not need their full width, in which case the lower ones take one bit less.
fn read_count(bits: &mut Forward<'_>, left: u32) -> Option<i16> {
    let most = left + 1;
    let width = u8::try_from(most.ilog2()).ok()?;
    let spared = (2 << width) - 1 - most;
    let low = bits.read(width)?;
    let has_more = low >= spared && bits.read(1)? == 1;
    let value = if has_more { low + (1 << width) - spared } else { low };
    Some(i16::try_from(value).ok()? - 1)
}
