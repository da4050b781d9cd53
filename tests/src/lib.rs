//! Black-box suites, load tools and benchmarks of Utilbot Gateway.

pub mod load;
