//! `[cluster]`, `[keep_alive]`, `[placement]` and `[output]`.

use crate::section::Section;
use crate::spec::{Cluster, Output, Placement};
use crate::values;
use traces::Duration;

/// `[cluster]`.
pub(crate) fn cluster(root: &Section<'_, '_>) -> Option<Cluster> {
    let section = root.section("cluster")?;
    let cluster = Cluster {
        nodes: section.get("nodes", values::nodes),
        cores: section.get("cores", values::count),
        dram: section.get("dram", values::positive_size),
        memory_cap: section.get("memory_cap", values::positive_size),
        queue_timeout: section.get("queue_timeout", values::positive_duration),
    };
    section.finish();
    Some(cluster)
}

/// `[keep_alive]`.
pub(crate) fn keep_alive(root: &Section<'_, '_>) -> Option<Duration> {
    let section = root.section("keep_alive")?;
    let ttl = section.get("ttl", values::positive_duration);
    section.finish();
    Some(ttl)
}

/// `[placement.NAME]`.
pub(crate) fn placement(root: &Section<'_, '_>) -> Option<Placement> {
    const NAMES: &[&str] = &["sandbox-aware", "hash-affinity", "round-robin"];
    let (name, node) = root.choice("placement", NAMES)?;
    let section = node.table().map(|_| Section::of(root.checker, &format!("placement.{name}"), node));
    let placement = match name {
        "sandbox-aware" => Placement::SandboxAware,
        "round-robin" => Placement::RoundRobin,
        _ => {
            let bound =
                section.as_ref().and_then(|s| s.optional("bound", values::at_least_one)).unwrap_or(1.25);
            Placement::HashAffinity { bound_permille: (bound.min(1e6) * 1000.0).round() as u32 }
        }
    };
    if let Some(section) = section {
        section.finish();
    }
    Some(placement)
}

/// `[output]`.
pub(crate) fn output(root: &Section<'_, '_>) -> Option<Output> {
    let section = root.section("output")?;
    let output = Output {
        invocations: section.get("invocations", values::flag),
        memory_every: section.get("memory_every", values::positive_duration),
    };
    section.finish();
    Some(output)
}
