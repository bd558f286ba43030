//! `[cluster]`, `[keep_alive]`, `[placement]`, `[sharing]`, `[pools]` and `[output]`.

use crate::section::Section;
use crate::spec::{
    Cluster, KeepAliveParameters, Output, Placement, Pools, Sharing, TimelineWindow, WithoutTemplate,
};
use crate::values;
use platform::policy::keep_alive::hybrid_histogram::HybridHistogramParameters;
use platform::policy::keep_alive::layers::LayerTimes;
use traces::Instant;

/// `[cluster]`.
pub(crate) fn cluster(root: &Section<'_, '_>) -> Option<Cluster> {
    let section = root.section("cluster")?;
    let cluster = Cluster {
        nodes: section.get("nodes", values::nodes),
        racks: section.get("racks", values::count),
        cores: section.get("cores", values::count),
        dram: section.get("dram", values::positive_size),
        memory_cap: section.get("memory_cap", values::positive_size),
        queue_timeout: section.get("queue_timeout", values::positive_duration),
    };
    if !cluster.nodes.is_multiple_of(cluster.racks.max(1)) {
        section.problem(
            "racks",
            format!("{} nodes do not fill {} racks equally: choose a divisor", cluster.nodes, cluster.racks),
        );
    }
    section.finish();
    Some(cluster)
}

/// `[keep_alive]`.
pub(crate) fn keep_alive(root: &Section<'_, '_>) -> Option<KeepAliveParameters> {
    let section = root.section("keep_alive")?;
    let ttl = section.get("ttl", values::positive_duration);
    let layers = section.section("layers")?;
    let histogram = section.section("hybrid_histogram")?;
    let percent = |key| histogram.get(key, values::percent);
    let parameters = KeepAliveParameters {
        ttl,
        layers: LayerTimes {
            function: layers.get("function", values::positive_duration),
            runtime: layers.get("runtime", values::positive_duration),
            bare: layers.get("bare", values::positive_duration),
        },
        hybrid_histogram: HybridHistogramParameters {
            bin: histogram.get("bin", values::positive_duration),
            bins: histogram.get("bins", values::bins),
            head_percent: percent("head_percent"),
            tail_percent: percent("tail_percent"),
            margin_percent: percent("margin_percent"),
            max_dispersion: histogram.get("max_dispersion", values::non_negative),
            min_samples: histogram.get("min_samples", values::count),
            default_ttl: histogram.get("default_ttl", values::positive_duration),
        },
    };
    let times = &parameters.hybrid_histogram;
    if times.head_percent > times.tail_percent {
        histogram.problem("head_percent", "after the tail: write a smaller one");
    }
    layers.finish();
    histogram.finish();
    section.finish();
    Some(parameters)
}

/// `[sharing]`.
pub(crate) fn sharing(root: &Section<'_, '_>) -> Option<Sharing> {
    let section = root.section("sharing")?;
    let sharing = Sharing {
        within_tenant: section.get("within_tenant", values::flag),
        tenants: section.get("tenants", values::small),
    };
    section.finish();
    Some(sharing)
}

/// `[pools]`.
pub(crate) fn pools(root: &Section<'_, '_>) -> Option<Pools> {
    let section = root.section("pools")?;
    let pools = Pools {
        replicas: section.get("replicas", values::small),
        without_template: match section.choice("without_template", &["boot", "storage"]) {
            Some(("storage", _)) => WithoutTemplate::Storage,
            _ => WithoutTemplate::Boot,
        },
    };
    section.finish();
    Some(pools)
}

/// `[placement.NAME]`.
pub(crate) fn placement(root: &Section<'_, '_>) -> Option<Placement> {
    const NAMES: &[&str] = &[
        "sandbox-aware",
        "rack-locality",
        "hash-affinity",
        "round-robin",
        "random",
        "least-loaded",
        "power-of-two",
    ];
    let (name, node) = root.choice("placement", NAMES)?;
    let section = node.table().map(|_| Section::of(root.checker, &format!("placement.{name}"), node));
    let placement = match name {
        "sandbox-aware" => Placement::SandboxAware,
        "round-robin" => Placement::RoundRobin,
        "random" => Placement::Random,
        "least-loaded" => Placement::LeastLoaded,
        "power-of-two" => Placement::PowerOfTwo,
        "rack-locality" => Placement::RackLocality {
            spill: section.as_ref().and_then(|s| s.optional("spill", values::flag)).unwrap_or(false),
        },
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
        distributions: section.get("distributions", values::small),
        growth_steps: section.get("growth_steps", values::growth_steps),
        timeline: section.optional_section("timeline").map(timeline),
    };
    section.finish();
    Some(output)
}

/// `[output.timeline]`.
fn timeline(section: Section<'_, '_>) -> TimelineWindow {
    let from = section.get("from", values::duration);
    let until = section.get("until", values::positive_duration);
    if until <= from {
        let message =
            format!("from {from} until {until} there is nothing to show: let it end after it begins");
        section.problem("until", message);
    }
    let (from, until) = (Instant::ZERO + from, Instant::ZERO + until);
    section.finish();
    TimelineWindow { from, until }
}
