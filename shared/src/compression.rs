//! zlib streams (RFC 1950): one complete stream for each packet.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The speed and size that zlib itself uses by default.
const LEVEL: u32 = 6;
/// The room that the output starts with and grows by at least, in bytes.
const ROOM: usize = 256;

// Each takes a quarter of a MiB or less and is reset before use: one a thread instead of one a packet.
thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(LEVEL), true));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(true));
}

/// Why a packet does not inflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InflateError {
    /// It is not exactly one complete zlib stream.
    #[error("not one complete zlib stream")]
    Malformed,
    /// It inflates to more than the limit.
    #[error("inflates to more than the limit")]
    TooBig,
}

/// Compresses `input` into one complete zlib stream.
pub fn deflate(input: &[u8]) -> Bytes {
    COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        let mut output = Vec::with_capacity(input.len() / 2 + ROOM);
        let mut rest = input;
        loop {
            let before = compress.total_in();
            match compress.compress_vec(rest, &mut output, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => return output.into(),
                Ok(Status::Ok | Status::BufError) => {
                    rest = after(rest, compress.total_in() - before);
                    output.reserve(ROOM + rest.len() / 2);
                }
                // zlib refuses a stream that was not set up or that goes on after its end, and this one was just reset.
                Err(error) => unreachable!("a fresh zlib stream refused its input: {error}"),
            }
        }
    })
}

/// Inflates exactly one complete zlib stream to at most `limit` bytes, and allocates no more than one byte beyond them.
///
/// # Errors
///
/// [`InflateError::TooBig`] as soon as the output passes the limit, [`InflateError::Malformed`] for a stream that is
/// broken, cut short, or followed by anything.
pub fn inflate(input: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    // The byte beyond the limit is what tells an output that ends there from one that goes on.
    let most = limit.saturating_add(1);
    DECOMPRESS.with_borrow_mut(|decompress| {
        decompress.reset(true);
        let mut output = Vec::with_capacity(input.len().saturating_mul(4).max(ROOM).min(most));
        let mut rest = input;
        loop {
            let before = decompress.total_in();
            let status = decompress
                .decompress_vec(rest, &mut output, FlushDecompress::None)
                .map_err(|_| InflateError::Malformed)?;
            rest = after(rest, decompress.total_in() - before);
            if output.len() > limit {
                return Err(InflateError::TooBig);
            }
            if status == Status::StreamEnd {
                return if rest.is_empty() {
                    Ok(output)
                } else {
                    Err(InflateError::Malformed)
                };
            }
            if output.len() < output.capacity() {
                // There was room, so it was the input that ran out.
                return Err(InflateError::Malformed);
            }
            output.reserve_exact(output.len().max(ROOM).min(most - output.len()));
        }
    })
}

/// `input` without the `count` bytes that were read of it.
fn after(input: &[u8], count: u64) -> &[u8] {
    usize::try_from(count)
        .ok()
        .and_then(|count| input.get(count..))
        .unwrap_or_default()
}
