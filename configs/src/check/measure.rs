//! `[measure]`: what the experiment measures on a real machine without any workload.

use crate::measure::Measure;
use crate::section::Section;
use crate::tree::Value;
use crate::values;

/// What is measured, if the experiment has such a side.
pub(crate) fn measure(root: &Section<'_, '_>) -> Option<Measure> {
    if !root.has("measure") {
        return None;
    }
    let (kind, node) = root.choice("measure", Measure::KINDS)?;
    let section = Section::of(root.checker, &format!("measure.{kind}"), node);
    let names = |key| section.list(key, values::text).into_iter().map(|(name, _)| name).collect();
    let measure = match kind {
        "sandboxes" => Measure::Sandboxes {
            ways: section.list("ways", values::count).into_iter().map(|(ways, _)| ways).collect(),
            starts: section.get("starts", values::count),
        },
        "page-groups" => Measure::PageGroups { functions: names("functions") },
        "instances" => {
            Measure::Instances { functions: names("functions"), count: section.get("count", values::count) }
        }
        "starts" => {
            Measure::Starts { functions: names("functions"), starts: section.get("starts", values::count) }
        }
        "vm-starts" => Measure::VmStarts {
            methods: known(&section, "methods", "method", Measure::VM_METHODS),
            memory_mib: section.list("memory", guest_memory).into_iter().map(|(mib, _)| mib).collect(),
            starts: section.get("starts", values::count),
        },
        "page-cache" => Measure::PageCache {
            vms: section.get("vms", few_vms),
            memory_mib: section.get("memory", guest_memory),
            files_mib: section.list("files", file_of_image).into_iter().map(|(mib, _)| mib).collect(),
        },
        "pools" => Measure::Pools {
            function: section.get("function", values::text),
            tiers: known(&section, "tiers", "tier", Measure::TIERS),
            starts: section.get("starts", values::count),
            guests: section.get("guests", one_or_two),
        },
        "agents" => Measure::Agents {
            count: section.get("count", values::count),
            in_vms: known(&section, "in_vms", "agent", Measure::AGENTS),
            rounds: section.get("rounds", values::count),
            per_browser: section.get("per_browser", values::count),
            speed: section.get("speed", values::count),
        },
        "browsers" => Measure::Browsers {
            agents: section.get("agents", values::count),
            per_browser: section.list("per_browser", values::count).into_iter().map(|(k, _)| k).collect(),
            in_vms: section.list("in_vms", values::count).into_iter().map(|(k, _)| k).collect(),
        },
        _ => Measure::Functions {
            functions: names("functions"),
            starts: section.get("starts", values::count),
            calls: section.get("calls", values::count),
        },
    };
    if matches!(&measure, Measure::Sandboxes { ways, .. } if ways.is_empty()) {
        section.problem("ways", "how many at a time is missing: write a list such as [1, 4, 16]");
    }
    if matches!(&measure, Measure::Pools { tiers, .. } if tiers.is_empty()) {
        section.problem("tiers", format!("no tier is named: write a list of {}", Measure::TIERS.join(", ")));
    }
    if let Measure::VmStarts { methods, memory_mib, .. } = &measure {
        if methods.is_empty() {
            let known = Measure::VM_METHODS.join(", ");
            section.problem("methods", format!("no method is named: write a list of {known}"));
        }
        if memory_mib.is_empty() {
            section
                .problem("memory", "sizes of guest memory are missing: write a list such as [\"512 MiB\"]");
        }
    }
    if let Measure::Agents { in_vms, .. } = &measure
        && in_vms.len() > Measure::MOST_VMS as usize
    {
        let most = Measure::MOST_VMS;
        section
            .problem("in_vms", format!("{} VMs at a time are too many: name {most} at most", in_vms.len()));
    }
    if matches!(&measure, Measure::PageCache { files_mib, .. } if files_mib.is_empty()) {
        section.problem("files", "sizes of the file are missing: write a list such as [\"100 MiB\"]");
    }
    if let Measure::Browsers { agents, per_browser, in_vms } = &measure {
        if per_browser.is_empty() {
            section.problem(
                "per_browser",
                "how many agents share a browser is missing: write a list such as [1, 8]",
            );
        }
        for (key, counts) in [("per_browser", per_browser), ("in_vms", in_vms)] {
            if let Some(most) = counts.iter().max().filter(|most| *most > agents) {
                let found = format!("{most} agents to a browser, and there are {agents}");
                section.problem(key, format!("{found}: write {most} agents or more"));
            }
        }
    }
    section.finish();
    Some(measure)
}

/// A list of names, each of those that there are.
fn known(section: &Section<'_, '_>, key: &'static str, what: &str, names: &[&str]) -> Vec<String> {
    let mut listed = Vec::new();
    for (name, origin) in section.list(key, values::text) {
        if !names.contains(&name.as_str()) {
            let hint = crate::suggest::hint(&name, names.iter().copied());
            section.checker.problem(
                origin,
                &format!("{}.{key}", section.path),
                format!("no {what} {name}: {hint}"),
            );
        }
        listed.push(name);
    }
    listed
}

/// An amount of guest memory, MiB: what a small Linux with its agent runs in, and what the window over it leaves.
fn guest_memory(value: &Value) -> Result<u32, String> {
    let bytes = values::positive_size(value)?.0;
    let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    if bytes % (1 << 20) == 0 && (192..=16_384).contains(&mib) {
        return Ok(mib);
    }
    Err(format!("{} is no guest memory: write whole MiB from 192 MiB to 16 GiB", value.written()))
}

fn one_or_two(value: &Value) -> Result<u32, String> {
    match values::count(value)? {
        guests @ 1..=2 => Ok(guests),
        guests => Err(format!("{guests} guests cannot be: write 1, or 2 for a pool in a guest of its own")),
    }
}

/// Size of a file that guests read, MiB: no more than the image has.
fn file_of_image(value: &Value) -> Result<u32, String> {
    let bytes = values::positive_size(value)?.0;
    let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    if bytes % (1 << 20) == 0 && (1..=Measure::MOST_FILE_MIB).contains(&mib) {
        return Ok(mib);
    }
    let most = Measure::MOST_FILE_MIB;
    Err(format!("{} is no size of the file: write whole MiB, {most} MiB at most", value.written()))
}

fn few_vms(value: &Value) -> Result<u32, String> {
    match values::count(value)? {
        vms if vms <= Measure::MOST_VMS => Ok(vms),
        vms => Err(format!("{vms} VMs at a time are too many: write {} at most", Measure::MOST_VMS)),
    }
}
