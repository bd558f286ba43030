//! MicroVMs: starts by each method, and page caches by each root device.

use std::collections::BTreeMap;

use runs::Chart;

use super::{Error, Outcome};
use crate::functions::Places;
use crate::vm::bench::{self, Setting};
use crate::vm::{Accelerator, Image, Method};

/// Starts of microVMs.
pub(super) fn starts(
    places: &Places,
    methods: &[String],
    memory_mib: &[u32],
    starts: u32,
) -> Result<Outcome, Error> {
    let setting = setting(places)?;
    // Names were checked with the experiment.
    let methods: Vec<Method> = methods.iter().filter_map(|name| Method::parse(name)).collect();
    let rows = bench::starts(&setting, &methods, memory_mib, starts)?;
    let charts = vec![
        Chart::wholes("vm-start", "Start of a microVM, to its first reply", "start", "Median (ms)"),
        Chart::parts("vm-steps", "Steps of a microVM's start", "step", "Median of each step (ms)"),
        Chart::parts("vm-memory", "Memory of a microVM after its first reply", "memory", "MiB"),
    ];
    Ok(outcome(&setting, rows, charts))
}

/// Page caches of microVMs.
pub(super) fn page_cache(
    places: &Places,
    vms: u32,
    memory_mib: u32,
    files_mib: &[u32],
) -> Result<Outcome, Error> {
    let setting = setting(places)?;
    let rows = bench::page_cache(&setting, memory_mib, vms, files_mib)?;
    let charts = vec![
        Chart::parts("vm-page-cache", "Page caches after reading one file", "page cache", "Growth (MiB)"),
        Chart::parts("vm-cache-memory", "Memory after reading one file", "memory", "Growth (MiB)"),
    ];
    Ok(outcome(&setting, rows, charts))
}

/// The accelerator, the image and the VMM.
pub(super) fn made_with(places: &Places) -> Result<BTreeMap<String, String>, Error> {
    let Setting { image, accelerator, .. } = setting(places)?;
    let with = [
        ("accelerator", accelerator.name().to_owned()),
        ("image", image.about.recipe),
        ("QEMU", crate::vm::template::vmm_version()?),
    ];
    Ok(with.into_iter().map(|(name, version)| (name.to_owned(), version)).collect())
}

fn setting(places: &Places) -> Result<Setting, Error> {
    let image = Image::find(&places.out)?;
    let accelerator = Accelerator::of_this_machine(&image)?;
    Ok(Setting { image, accelerator, launcher: None })
}

fn outcome(setting: &Setting, rows: Vec<runs::MeasuredRow>, charts: Vec<Chart>) -> Outcome {
    let stand_ins = setting.accelerator.stand_in().into_iter().collect();
    Outcome { rows, charts, warnings: super::of_this_machine(), wrong: Vec::new(), stand_ins }
}

#[cfg(test)]
mod tests {
    use super::Method;

    #[test]
    fn methods_of_experiments_are_those_that_there_are() {
        let known: Vec<&str> = Method::ALL.into_iter().map(Method::name).collect();
        assert_eq!(configs::Measure::VM_METHODS, known);
    }
}
