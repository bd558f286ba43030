//! Why an experiment cannot be run with real sandboxes.

/// A run is refused before anything is started, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The system's state does not come from booting.
    #[error(
        "{system} brings its state back by {state}, and real sandboxes can only boot or attach templates so far: set [emu] boot = true, or --set 'override.systems.\"{system}\".state=\"boot\"', to run it with booted functions"
    )]
    State {
        /// The system.
        system: String,
        /// Its state's word.
        state: &'static str,
    },
    /// The system does something else that real sandboxes cannot do.
    #[error("{system}: {what} cannot be done with real sandboxes so far: leave it out of emu.systems")]
    System {
        /// The system.
        system: String,
        /// What it does.
        what: String,
    },
    /// The experiment does something that one machine cannot.
    #[error("{0}")]
    Experiment(String),
    /// A function that the workload does not have.
    #[error("emu.functions: the workload {workload} has no function \"{name}\": it has {hint}")]
    NotInWorkload {
        /// What was named.
        name: String,
        /// The workload.
        workload: String,
        /// What there is.
        hint: String,
    },
    /// Functions of the workload that nobody has written.
    #[error(
        "the workload calls functions that do not exist: {}; there are {}: choose some of the workload's by emu.functions",
        .missing.join(", "), .known.join(", ")
    )]
    NoFunction {
        /// Those called.
        missing: Vec<String>,
        /// Those there are.
        known: Vec<String>,
    },
    /// No invocation is left.
    #[error("nothing of the workload {workload} is left: emu.functions and emu.window leave out every call")]
    NothingLeft {
        /// The workload.
        workload: String,
    },
    /// The functions or their layers are not there.
    #[error(transparent)]
    Function(#[from] crate::functions::Error),
    /// The sandboxes are not to be had.
    #[error("{source}; `trenvx doctor` tells what this machine lacks")]
    Sandbox {
        /// Why not.
        #[from]
        source: crate::sandbox::Error,
    },
    /// A function cannot be made a template.
    #[error("{function} cannot be captured: {what}")]
    Template {
        /// The function.
        function: String,
        /// Why not.
        what: String,
    },
    /// The store of templates is not to be had.
    #[error(transparent)]
    Templates(#[from] crate::template::Error),
    /// A descriptor or thread is not to be had.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}
