//! A function whose instructions are counted.

use std::hint::black_box;

/// How often a step is called, unless it needs another number.
pub(super) const CALLS: usize = 1000;

/// A step, and the function that prepares its inputs and calls it.
#[derive(Debug)]
pub struct HotStep {
    /// Its name in the baseline and in the profile.
    pub name: &'static str,
    pub(super) run: fn() -> usize,
}

impl HotStep {
    /// Calls the step a fixed number of times and returns that number.
    ///
    /// # Panics
    /// Panics if a call does not return what it should.
    pub fn run(&self) -> usize {
        (self.run)()
    }
}

/// Defines the function `step`. The leading `black_box` keeps the compiler from merging two steps of a file that do
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

/// Calls `step` with each input, checks each output, and returns the number of calls.
pub(super) fn each<I, O>(
    inputs: impl IntoIterator<Item = I>,
    mut step: impl FnMut(I) -> O,
    is_right: impl Fn(&O) -> bool,
) -> usize {
    let judged = inputs.into_iter().map(|input| {
        let output = black_box(step(black_box(input)));
        assert!(is_right(&output), "a step returned the wrong result");
    });
    judged.count()
}
