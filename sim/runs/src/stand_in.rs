//! How a record says that something stood in for what the machine lacks: a warning that begins with one of two words.

/// Begins a warning about hardware that something else stood in for.
pub const STAND_IN: &str = "stand-in: ";

/// Begins a warning about a system that had to boot where it is defined by restoring.
pub const BOOTED: &str = "state booted: ";

/// What a warning says of a stand-in; `None` if it is about something else.
pub fn degraded(warning: &str) -> Option<&str> {
    warning.strip_prefix(STAND_IN).or_else(|| warning.strip_prefix(BOOTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stand_ins_are_degraded() {
        assert_eq!(degraded("stand-in: DRAM for CXL"), Some("DRAM for CXL"));
        assert_eq!(degraded("state booted: criu boots"), Some("criu boots"));
        assert_eq!(degraded("the load driver was late"), None);
    }
}
