//! Names of things that come and go while a run lasts: small integers, meaningful in one run only.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// As an index into a table.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// A machine that holds sandboxes.
    NodeId
}
id! {
    /// A sandbox. Numbers are used again after a sandbox is gone.
    SandboxId
}
id! {
    /// An invocation in flight. The world chooses the number and may use it again once the
    /// invocation has ended.
    Ticket
}
