//! `[[faults]]` and `[churn]`: what fails and comes back while a run lasts.

use crate::section::Section;
use crate::spec::{Churn, Cluster, Fault, FaultKind, Faults};
use crate::values;

/// The faults of an experiment, checked against its cluster.
pub(crate) fn faults(root: &Section<'_, '_>, cluster: Option<&Cluster>) -> Faults {
    let mut faults = Faults::default();
    for section in root.sections("faults") {
        if let Some(fault) = fault(&section, cluster) {
            faults.events.push(fault);
        }
        section.finish();
    }
    if let Some(section) = root.optional_section("churn") {
        faults.churn = Some(Churn {
            up: section.get("up", values::positive_duration),
            down: section.get("down", values::positive_duration),
        });
        section.finish();
    }
    faults
}

fn fault(section: &Section<'_, '_>, cluster: Option<&Cluster>) -> Option<Fault> {
    let at = section.get("at", values::duration);
    let lasts = section.get("lasts", values::positive_duration);
    let (kind, node) = section.choice("what", &["node", "cxl-device", "rdma-pool", "nic"])?;
    let inner = Section::of(section.checker, &format!("{}.what.{kind}", section.path), node);
    let below = |key: &'static str, limit: u32, things: &str| {
        let number = inner.get(key, values::small);
        if number >= limit {
            inner.problem(key, format!("there are {limit} {things}, numbered from 0"));
        }
        number
    };
    let (nodes, racks) = cluster.map_or((u32::MAX, u32::MAX), |c| (c.nodes, c.racks));
    let what = match kind {
        "node" => FaultKind::Node { node: below("node", nodes, "nodes") },
        "cxl-device" => FaultKind::CxlDevice { rack: below("rack", racks, "racks") },
        "rdma-pool" => FaultKind::RdmaPool {},
        _ => {
            let factor = inner.get("factor", values::share);
            if factor == 0.0 {
                inner.problem("factor", "a NIC of no capacity at all: write a factor above 0");
            }
            FaultKind::Nic { node: below("node", nodes, "nodes"), factor }
        }
    };
    inner.finish();
    Some(Fault { at, lasts, what })
}
