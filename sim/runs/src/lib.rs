//! sim/runs
