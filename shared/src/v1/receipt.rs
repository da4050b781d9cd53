//! `r`: the name of one delivery that its receiver answers.

use std::{fmt, str::FromStr};

/// Names one delivery of a request. It is 128 random bits, so nobody but the receiver knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt(u128);

impl Receipt {
    /// Creates a receipt from its bits.
    pub const fn from_raw(raw: u128) -> Self {
        Self(raw)
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Receipt {
    /// Leaves out the bits: whoever knows them can answer the request.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receipt(..)")
    }
}

/// The text is not a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a receipt")]
pub struct NoReceipt;

impl FromStr for Receipt {
    type Err = NoReceipt;

    /// Parses exactly what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, NoReceipt> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(NoReceipt);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| NoReceipt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_parsed_from_what_it_writes() {
        for raw in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let receipt = Receipt::from_raw(raw);
            assert_eq!(receipt.to_string().parse(), Ok(receipt));
        }
        let text = Receipt::from_raw(u128::MAX).to_string();
        for wrong in [
            "",
            "0",
            &text.to_uppercase(),
            &text[1..],
            &format!("{text}0"),
            &format!("+{}", &text[1..]),
        ] {
            assert_eq!(wrong.parse::<Receipt>(), Err(NoReceipt), "{wrong}");
        }
    }

    #[test]
    fn its_bits_are_not_logged() {
        assert_eq!(format!("{:?}", Receipt::from_raw(0xff)), "Receipt(..)");
    }
}
