//! The sequences section of a block (RFC 8878, section 3.1.1.3.2). A sequence says how many literals to output, and
//! what to copy after them.

use std::{borrow::Cow, sync::LazyLock};

use super::{
    bits::{Backward, Writer},
    fse::{State, Table},
};

/// A symbol, and the value of the extra bits that complete it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Coded {
    pub(super) symbol: u8,
    pub(super) extra: u32,
}

/// One sequence. Its two lengths stay encoded, since a rewrite does not change them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sequence {
    literals: Coded,
    /// An offset, or the position of a repeat offset (`repeats.rs`).
    pub(super) offset: u32,
    length: Coded,
}

impl Sequence {
    /// Returns whether literals precede the copy.
    pub(super) const fn has_literals(&self) -> bool {
        self.literals.symbol > 0
    }

    /// Returns the sequence with its offset replaced.
    pub(super) const fn with_offset(self, offset: u32) -> Self {
        Self { offset, ..self }
    }
}

/// The constants of one kind of symbol.
struct Kind {
    symbols: usize,
    most_log: u8,
    usual: LazyLock<Table>,
}

/// The number of extra bits of each literals length symbol.
const LITERALS_BITS: [u8; 36] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
];
/// The number of extra bits of each match length symbol. An offset symbol is itself the number of its extra bits.
const LENGTH_BITS: [u8; 53] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2,
    3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
];

static LITERALS: Kind = Kind {
    symbols: 36,
    most_log: 9,
    usual: LazyLock::new(|| {
        let counts = [
            4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1,
            -1,
        ];
        Table::of_counts(&counts, 6)
    }),
};
static OFFSET: Kind = Kind {
    symbols: 32,
    most_log: 8,
    usual: LazyLock::new(|| {
        let counts = [
            1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
        ];
        Table::of_counts(&counts, 5)
    }),
};
static LENGTH: Kind = Kind {
    symbols: 53,
    most_log: 9,
    usual: LazyLock::new(|| {
        let counts = [
            1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
            1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
        ];
        Table::of_counts(&counts, 6)
    }),
};

/// An iterator over the sequences of a block.
pub(super) struct Sequences<'a> {
    left: usize,
    /// `None` after the last sequence, and in a section without sequences, which ends after their number.
    coding: Option<SymbolCoding<'a>>,
}

struct SymbolCoding<'a> {
    literals: Reader,
    offset: Reader,
    length: Reader,
    bits: Backward<'a>,
}

/// A table, and the current state of the decoder.
struct Reader {
    table: Cow<'static, Table>,
    state: State,
}

impl Reader {
    fn new(table: Cow<'static, Table>, bits: &mut Backward<'_>) -> Option<Self> {
        let state = State(bits.read(table.log())?);
        Some(Self { table, state })
    }

    fn symbol(&self) -> u8 {
        self.table.symbol(self.state)
    }

    fn advance(&mut self, bits: &mut Backward<'_>) -> Option<()> {
        let read = bits.read(self.table.bits(self.state))?;
        self.state = self.table.next(self.state, read);
        Some(())
    }
}

impl<'a> Sequences<'a> {
    /// Starts reading a section. Returns `None` if the section is malformed, or reuses the tables of an earlier block.
    pub(super) fn new(section: &'a [u8]) -> Option<Self> {
        let (left, rest) = read_count(section)?;
        let coding = match left {
            0 if rest.is_empty() => None,
            0 => return None,
            _ => Some(SymbolCoding::new(rest)?),
        };
        Some(Self { left, coding })
    }
}

impl Iterator for Sequences<'_> {
    /// `None` stands for a sequence that cannot be read. It ends the iteration.
    type Item = Option<Sequence>;

    fn next(&mut self) -> Option<Self::Item> {
        let coding = self.coding.as_mut()?;
        self.left -= 1;
        let sequence = coding.read(self.left == 0);
        if self.left == 0 || sequence.is_none() {
            self.coding = None;
        }
        Some(sequence)
    }
}

impl<'a> SymbolCoding<'a> {
    fn new(section: &'a [u8]) -> Option<Self> {
        let (modes, mut rest) = section.split_first()?;
        if modes & 0b11 != 0 {
            return None;
        }
        let literals = read_table(modes >> 6, &LITERALS, &mut rest)?;
        let offset = read_table(modes >> 4, &OFFSET, &mut rest)?;
        let length = read_table(modes >> 2, &LENGTH, &mut rest)?;
        let mut bits = Backward::new(rest)?;
        Some(Self {
            literals: Reader::new(literals, &mut bits)?,
            offset: Reader::new(offset, &mut bits)?,
            length: Reader::new(length, &mut bits)?,
            bits,
        })
    }

    fn read(&mut self, is_last: bool) -> Option<Sequence> {
        let bits = &mut self.bits;
        let log = self.offset.symbol();
        let offset = 1_u32.checked_shl(log.into())? + bits.read(log)?;
        let length = read_coded(self.length.symbol(), &LENGTH_BITS, bits)?;
        let literals = read_coded(self.literals.symbol(), &LITERALS_BITS, bits)?;
        if !is_last {
            self.literals.advance(bits)?;
            self.length.advance(bits)?;
            self.offset.advance(bits)?;
        } else if !bits.is_empty() {
            return None;
        }
        Some(Sequence {
            literals,
            offset,
            length,
        })
    }
}

fn read_coded(symbol: u8, bits_of: &[u8], bits: &mut Backward<'_>) -> Option<Coded> {
    let extra = bits.read(*bits_of.get(usize::from(symbol))?)?;
    Some(Coded { symbol, extra })
}

/// Returns the number of sequences, and the rest of the section.
fn read_count(section: &[u8]) -> Option<(usize, &[u8])> {
    Some(match *section {
        [few @ 0..=127, ref rest @ ..] => (few.into(), rest),
        [255, low, high, ref rest @ ..] => (usize::from(u16::from_le_bytes([low, high])) + 0x7f00, rest),
        [high @ 128..=254, low, ref rest @ ..] => ((usize::from(high - 128) << 8) | usize::from(low), rest),
        _ => return None,
    })
}

fn read_table(mode: u8, kind: &'static Kind, rest: &mut &[u8]) -> Option<Cow<'static, Table>> {
    match mode & 0b11 {
        0 => Some(Cow::Borrowed(&*kind.usual)),
        1 => {
            let (symbol, after) = rest.split_first()?;
            *rest = after;
            (usize::from(*symbol) < kind.symbols).then(|| Cow::Owned(Table::of_one(*symbol)))
        }
        2 => {
            let (table, len) = Table::read(rest, kind.symbols, kind.most_log)?;
            *rest = rest.get(len..)?;
            Some(Cow::Owned(table))
        }
        // Reuses the table of an earlier block.
        _ => None,
    }
}

/// Appends a section of these sequences, encoded with the predefined tables. Returns `None` if a sequence cannot be
/// encoded.
pub(super) fn write(sequences: &[Sequence], out: &mut Vec<u8>) -> Option<()> {
    write_count(sequences.len(), out)?;
    if sequences.is_empty() {
        return Some(());
    }
    out.push(0);
    // A decoder reads backward, so the last sequence is written first, and within a sequence, what is read last.
    let mut bits = Writer::new(out);
    let mut literals = SequenceTail::new(&LITERALS);
    let mut offset = SequenceTail::new(&OFFSET);
    let mut length = SequenceTail::new(&LENGTH);
    for sequence in sequences.iter().rev() {
        let log = u8::try_from(sequence.offset.checked_ilog2()?).ok()?;
        offset.precede(log, &mut bits)?;
        length.precede(sequence.length.symbol, &mut bits)?;
        literals.precede(sequence.literals.symbol, &mut bits)?;
        write_coded(sequence.literals, &LITERALS_BITS, &mut bits)?;
        write_coded(sequence.length, &LENGTH_BITS, &mut bits)?;
        bits.write(sequence.offset - (1 << log), log);
    }
    for first in [&length, &offset, &literals] {
        bits.write(first.state?.0, first.table.log());
    }
    bits.finish();
    Some(())
}

/// A table, and the current state of the encoder, which works from the end of the section.
struct SequenceTail {
    table: &'static Table,
    state: Option<State>,
}

impl SequenceTail {
    fn new(kind: &'static Kind) -> Self {
        Self {
            table: &kind.usual,
            state: None,
        }
    }

    fn precede(&mut self, symbol: u8, bits: &mut Writer<'_>) -> Option<()> {
        self.state = Some(match self.state {
            None => self.table.any(symbol)?,
            Some(next) => {
                let (state, read) = self.table.before(symbol, next)?;
                bits.write(read, self.table.bits(state));
                state
            }
        });
        Some(())
    }
}

fn write_coded(coded: Coded, bits_of: &[u8], bits: &mut Writer<'_>) -> Option<()> {
    bits.write(coded.extra, *bits_of.get(usize::from(coded.symbol))?);
    Some(())
}

fn write_count(count: usize, out: &mut Vec<u8>) -> Option<()> {
    match count {
        0..=0x7f => out.push(u8::try_from(count).ok()?),
        0x80..=0x7eff => out.extend_from_slice(&[u8::try_from(count >> 8).ok()? + 128, count.to_le_bytes()[0]]),
        _ => {
            out.push(255);
            out.extend_from_slice(&u16::try_from(count - 0x7f00).ok()?.to_le_bytes());
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(section: &[u8]) -> Option<Vec<Sequence>> {
        Sequences::new(section)?.collect()
    }

    fn any_coded(bits_of: &'static [u8]) -> impl Strategy<Value = Coded> {
        (0..bits_of.len(), any::<u32>()).prop_map(|(symbol, extra)| Coded {
            symbol: u8::try_from(symbol).unwrap(),
            extra: extra & ((1 << bits_of[symbol]) - 1),
        })
    }

    fn any_sequence() -> impl Strategy<Value = Sequence> {
        (any_coded(&LITERALS_BITS), 1..1_u32 << 29, any_coded(&LENGTH_BITS)).prop_map(|(literals, offset, length)| {
            Sequence {
                literals,
                offset,
                length,
            }
        })
    }

    #[test]
    fn a_count_takes_one_to_three_bytes() {
        for count in [1, 2, 127, 128, 129, 255, 256, 0x7eff, 0x7f00, 0x7f01, 0x17eff] {
            let mut section = Vec::new();
            write_count(count, &mut section).unwrap();
            section.push(0xaa);
            assert_eq!(read_count(&section), Some((count, &[0xaa][..])), "{count}");
        }
    }

    #[test]
    fn tables_of_earlier_blocks_are_refused() {
        let mut section = Vec::new();
        let coded = Coded { symbol: 0, extra: 0 };
        let sequence = Sequence {
            literals: coded,
            offset: 4,
            length: coded,
        };
        write(&[sequence], &mut section).unwrap();
        assert_eq!(read(&section), Some(vec![sequence]));
        for modes in [0b1100_0000, 0b0011_0000, 0b0000_1100, 0b0000_0001] {
            section[1] = modes;
            assert_eq!(read(&section), None, "{modes:b}");
        }
    }

    proptest! {
        #[test]
        fn written_sequences_read_back(sequences in prop::collection::vec(any_sequence(), 1..300)) {
            let mut section = Vec::new();
            write(&sequences, &mut section).unwrap();
            prop_assert_eq!(read(&section), Some(sequences));
        }

        #[test]
        fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(sequences) = read(&garbage) {
                let mut section = Vec::new();
                let _ = write(&sequences, &mut section);
            }
        }
    }
}
