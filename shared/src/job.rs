//! The names of jobs and of their deliveries.

use std::{fmt, str::FromStr};

/// Names a job: 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u128);

impl JobId {
    /// Creates an id from its bits.
    pub const fn from_raw(raw: u128) -> Self {
        Self(raw)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The text names no job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a job")]
pub struct NoJob;

impl FromStr for JobId {
    type Err = NoJob;

    /// Parses exactly what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, NoJob> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(NoJob);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| NoJob)
    }
}

/// Names one delivery of a job: its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JobDelivery {
    /// The job.
    pub job: JobId,
    /// The number of the delivery, from 1. It goes on if the attempts are counted from 1 again.
    pub number: u32,
}

impl fmt::Display for JobDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.job, self.number)
    }
}

impl FromStr for JobDelivery {
    type Err = NoJob;

    /// Parses exactly what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, NoJob> {
        let (job, number) = text.split_once('.').ok_or(NoJob)?;
        let delivery = Self {
            job: job.parse()?,
            number: number.parse().map_err(|_| NoJob)?,
        };
        // A number can be written in several ways.
        if delivery.to_string() == text {
            Ok(delivery)
        } else {
            Err(NoJob)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_parsed_from_what_it_writes() {
        let delivery = JobDelivery {
            job: JobId::from_raw(0xff),
            number: 12,
        };
        let text = delivery.to_string();
        assert_eq!(text, "000000000000000000000000000000ff.12");
        assert_eq!(text.parse(), Ok(delivery));
        for wrong in [
            "",
            ".",
            "ff.1",
            &text[1..],
            &text.replace(".12", ".012"),
            &text.replace(".12", ".+12"),
            &text.replace(".12", ""),
        ] {
            assert_eq!(wrong.parse::<JobDelivery>(), Err(NoJob), "{wrong}");
        }
    }
}
