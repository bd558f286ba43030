//! sim/platform
