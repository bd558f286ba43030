//! What worlds tell the control plane, and what it tells them.

use crate::ids::{NodeId, SandboxId, Ticket};
use crate::records::StartKind;
use crate::system::Layer;
use serde::{Deserialize, Serialize};
use traces::{FunctionId, Instant};

/// What a world tells the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// A request for a function has arrived.
    Arrival {
        /// The world's name for it while it is in flight.
        ticket: Ticket,
        /// What it asks for.
        function: FunctionId,
    },
    /// A start or repurposing that was commanded has ended well.
    Ready {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// The invocation that a sandbox was running has ended.
    Finished {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// A timer that was set has come.
    Timer(Timer),
    /// The node really uses more memory than it has; answered by evicting one idle sandbox, if
    /// there is one.
    MemoryPressure {
        /// Where.
        node: NodeId,
    },
    /// A sandbox is gone by itself: its start failed, it crashed, or its template's pages are lost.
    SandboxLost {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// A node is gone with all its sandboxes.
    NodeLost {
        /// Which.
        node: NodeId,
    },
    /// A node is there, empty.
    NodeJoined {
        /// Which.
        node: NodeId,
    },
}

/// What the control plane tells a world to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Make a sandbox and bring `function` up in it.
    Start {
        /// Its name from now on.
        sandbox: SandboxId,
        /// Where.
        node: NodeId,
        /// What it will run.
        function: FunctionId,
        /// For whom; `None`: for nobody yet, it is pre-warmed.
        ticket: Option<Ticket>,
        /// How it gets its state: cold, restored, or (a bound) warm.
        kind: StartKind,
        /// Whether a network namespace of the node's pool is used.
        pooled_netns: bool,
    },
    /// Clean an idle sandbox and bring `to` up in it.
    Repurpose {
        /// The sandbox.
        sandbox: SandboxId,
        /// Where it is.
        node: NodeId,
        /// What it ran before; `None` for a prepopulated one.
        from: Option<FunctionId>,
        /// What can be kept of it.
        keeps: Layer,
        /// What it will run.
        to: FunctionId,
        /// For whom.
        ticket: Ticket,
    },
    /// Run an invocation in a sandbox that is ready.
    Run {
        /// The sandbox.
        sandbox: SandboxId,
        /// Where it is.
        node: NodeId,
        /// Which invocation.
        ticket: Ticket,
        /// How it got the sandbox.
        kind: StartKind,
    },
    /// Take an idle sandbox down to a lower layer.
    Demote {
        /// The sandbox.
        sandbox: SandboxId,
        /// Where it is.
        node: NodeId,
        /// What is kept of it.
        to: Layer,
    },
    /// Destroy an idle sandbox. Its name may be used again at once.
    Evict {
        /// The sandbox.
        sandbox: SandboxId,
        /// Where it is.
        node: NodeId,
        /// Why.
        reason: EvictReason,
        /// Whether its network namespace goes to the node's pool.
        keep_netns: bool,
    },
    /// A sandbox is gone, and with it the invocation it was starting or running. Its name may be
    /// used again at once.
    Lost {
        /// The sandbox.
        sandbox: SandboxId,
        /// Where it was.
        node: NodeId,
        /// Whom it served.
        ticket: Option<Ticket>,
    },
    /// Send [`Input::Timer`] at that time.
    SetTimer {
        /// When; never before now.
        at: Instant,
        /// What to send.
        timer: Timer,
    },
    /// The invocation waits: for information, nothing is to be done.
    Queued {
        /// Which invocation.
        ticket: Ticket,
    },
    /// The invocation has waited longer than the queue timeout and is given up.
    TimedOut {
        /// Which invocation.
        ticket: Ticket,
    },
    /// The invocation can never run: its function declares more memory than a node's cap.
    Reject {
        /// Which invocation.
        ticket: Ticket,
    },
}

/// Why a sandbox was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvictReason {
    /// Its keep-alive ended.
    Expired,
    /// Its memory was needed.
    Memory,
}

/// A timer; opaque to worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timer {
    /// The keep-alive of a sandbox may have ended.
    KeepAlive {
        /// The sandbox.
        sandbox: SandboxId,
        /// Which of its timers.
        generation: u32,
    },
    /// An invocation may have waited too long.
    Queue {
        /// Which invocation.
        ticket: Ticket,
        /// Which wait of that ticket.
        wait: u32,
    },
    /// A sandbox of a function may be wanted soon.
    PreWarm {
        /// The function.
        function: FunctionId,
        /// Which of its pre-warm timers.
        generation: u32,
    },
}
