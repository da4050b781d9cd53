//! Black-box suites against the real binary. One binary: linking dominates on two cores.

mod load_tools;
