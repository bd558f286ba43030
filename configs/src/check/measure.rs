//! `[measure]`: what the experiment measures on a real machine without any workload.

use crate::measure::Measure;
use crate::section::Section;
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
        _ => Measure::Functions {
            functions: names("functions"),
            starts: section.get("starts", values::count),
            calls: section.get("calls", values::count),
        },
    };
    if matches!(&measure, Measure::Sandboxes { ways, .. } if ways.is_empty()) {
        section.problem("ways", "how many at a time is missing: write a list such as [1, 4, 16]");
    }
    section.finish();
    Some(measure)
}
