//! Randomness that decides nothing but the moment at which something happens, and names that must not collide. Secrets
//! come from the operating system.

/// Returns a number from 0 to 1.
#[expect(clippy::disallowed_methods, reason = "the one place where randomness enters")]
pub(crate) fn fraction() -> f64 {
    fastrand::f64()
}

/// Returns a number that no other call returns, with a probability that is good enough for names.
#[expect(clippy::disallowed_methods, reason = "the one place where randomness enters")]
pub(crate) fn token() -> u64 {
    fastrand::u64(..)
}
