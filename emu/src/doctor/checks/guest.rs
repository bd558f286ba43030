//! What the guest lab boots.

use super::{Finding, Host};

/// The guest kernel and its initial file system.
pub(super) fn kernel(_: &Host) -> Finding {
    Finding::missing("the guest lab is not part of this version", "none in this version")
}
