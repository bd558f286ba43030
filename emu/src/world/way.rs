//! Which real sandboxes a system stands for.

use configs::Spec;
use platform::system::{CgroupEntry, Isolating, Isolation, KeepAlive, PageSource, State, system};

use runs::{BOOTED, STAND_IN};

use super::error::Refused;
use crate::sandbox::{Birth, Mode};

/// How the sandboxes of a system are made.
///
/// # Errors
/// If the system, or what the experiment does to it, cannot be had with real sandboxes.
pub fn way(spec: &Spec) -> Result<(Mode, Birth), Refused> {
    let system = &spec.system;
    let cannot = |what: String| Err(Refused::System { system: system.name.clone(), what });
    if system.isolation != Isolation::Container {
        return cannot(format!("isolation \"{}\"", system.isolation.word()));
    }
    super::templates::pages(spec)?;
    if system.keep_alive == KeepAlive::Layers {
        return cannot("keep-alive by layers".to_owned());
    }
    if spec.cluster.nodes != 1 {
        let message = format!(
            "cluster.nodes is {}, and this machine is one node: run it with --world sim",
            spec.cluster.nodes
        );
        return Err(Refused::Experiment(message));
    }
    if !spec.faults.events.is_empty() || spec.faults.churn.is_some() {
        let message = "faults and churn are the simulated world's: run it with --world sim";
        return Err(Refused::Experiment(message.to_owned()));
    }
    let mode = match system.isolating {
        Isolating::Create => Mode::New,
        Isolating::PooledNetns => Mode::PooledNetns,
        Isolating::Repurpose => Mode::Repurpose,
        Isolating::Pooled => return cannot("isolation from a pool that refills itself".to_owned()),
    };
    let birth = match system.cgroup {
        CgroupEntry::Migrate => Birth::Migrate,
        CgroupEntry::CloneInto => Birth::IntoCgroup,
    };
    Ok((mode, birth))
}

/// What stands for memory that this machine does not have.
#[must_use]
pub fn stand_in(spec: &Spec) -> Option<String> {
    match (spec.system.state, spec.system.pages) {
        (State::Attach, PageSource::Cxl) => Some(format!(
            "{STAND_IN}templates lie in this machine's DRAM, which stands for CXL memory: reads are as fast as DRAM's"
        )),
        (State::Attach, PageSource::Rdma) => Some(format!(
            "{STAND_IN}pages come from this machine's DRAM with the stated latency of {} a page, which stands for an RDMA pool",
            spec.machine.rdma.read_4k
        )),
        _ => None,
    }
}

/// Says so where a system boots although it is defined by another state.
#[must_use]
pub fn booted(spec: &Spec) -> Option<String> {
    let own = system(&spec.system.name)?.state;
    (own != spec.system.state).then(|| {
        format!(
            "{BOOTED}{} brings its state back by {}; here every start boots the function's process, so start-up has isolation and initialisation in it, and memory is not shared by templates",
            spec.system.name,
            own.word()
        )
    })
}
