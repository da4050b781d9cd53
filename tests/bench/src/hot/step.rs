//! One function that is counted.

use std::hint::black_box;

/// So often a step is called where nothing speaks for another number.
pub(super) const CALLS: usize = 1000;

/// A step and what makes its inputs.
#[derive(Debug)]
pub struct HotStep {
    /// What it is called, in the baseline as in the profile.
    pub name: &'static str,
    pub(super) run: fn() -> usize,
}

impl HotStep {
    /// Calls it a fixed number of times and says how often that was.
    ///
    /// # Panics
    /// When one of the calls does something else than what the step is for.
    pub fn run(&self) -> usize {
        (self.run)()
    }
}

/// Makes the function `step`. What it begins with keeps the compiler from making one function of two of a file that do
/// the same with different inputs.
macro_rules! step {
    (($($input:ident: $type:ty),*) $(-> $output:ty)? $body:block) => {
        #[inline(never)]
        fn step($($input: $type),*) $(-> $output)? {
            std::hint::black_box(line!());
            $body
        }
    };
}
pub(super) use step;

/// Calls `step` with each of the inputs, judges what comes out, and says how many there were.
pub(super) fn each<I, O>(
    inputs: impl IntoIterator<Item = I>,
    mut step: impl FnMut(I) -> O,
    is_right: impl Fn(&O) -> bool,
) -> usize {
    let judged = inputs.into_iter().map(|input| {
        let output = black_box(step(black_box(input)));
        assert!(is_right(&output), "a step came to something else");
    });
    judged.count()
}
