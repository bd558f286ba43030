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
            methods: vm_methods(&section),
            memory_mib: section.list("memory", guest_memory).into_iter().map(|(mib, _)| mib).collect(),
            starts: section.get("starts", values::count),
        },
        "page-cache" => Measure::PageCache {
            vms: section.get("vms", few_vms),
            memory_mib: section.get("memory", guest_memory),
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
    section.finish();
    Some(measure)
}

/// Methods of microVMs, each known.
fn vm_methods(section: &Section<'_, '_>) -> Vec<String> {
    let named = section.list("methods", values::text);
    let mut methods = Vec::new();
    for (name, origin) in named {
        if !Measure::VM_METHODS.contains(&name.as_str()) {
            let hint = crate::suggest::hint(&name, Measure::VM_METHODS.iter().copied());
            let key = format!("{}.methods", section.path);
            section.checker.problem(origin, &key, format!("no method {name}: {hint}"));
        }
        methods.push(name);
    }
    methods
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

fn few_vms(value: &Value) -> Result<u32, String> {
    match values::count(value)? {
        vms if vms <= Measure::MOST_VMS => Ok(vms),
        vms => Err(format!("{vms} VMs at a time are too many: write {} at most", Measure::MOST_VMS)),
    }
}
