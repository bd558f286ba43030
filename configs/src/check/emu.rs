//! `[emu]`: the experiment on a real machine.

use crate::check::systems;
use crate::section::Section;
use crate::spec::EmuSpec;
use crate::values;
use platform::system::{State, System};
use traces::Duration;

/// Most pages that a page server installs for one fault.
const MOST_PAGES: u32 = 512;

/// The systems that the emulated world runs, and how the workload is fitted to it.
pub(crate) fn emu(root: &Section<'_, '_>, compared: &[System]) -> Option<(Vec<System>, EmuSpec)> {
    let section = root.section("emu")?;
    let named = section.list("systems", values::text);
    section.words("systems", systems::names());
    let mut systems = systems::find(root.checker, "emu.systems", named);
    if systems.is_empty() {
        systems = compared.to_vec();
    }
    if section.get("boot", values::flag) {
        let others = systems.iter_mut().filter(|system| system.state != State::Attach);
        others.for_each(|system| system.state = State::Boot);
    }
    let window = section.get("window", values::duration);
    let spec = EmuSpec {
        window: (window > Duration::ZERO).then_some(window),
        burn_in: section.get("burn_in", values::duration),
        speed: section.get("speed", values::factor),
        batch: section.get("batch", values::count),
        functions: section.list("functions", values::text).into_iter().map(|(name, _)| name).collect(),
    };
    if spec.window.is_some_and(|window| window <= spec.burn_in) {
        section.problem("window", "nothing is left of it after the burn-in: write a longer one");
    }
    if !(1..=MOST_PAGES).contains(&spec.batch) {
        section.problem("batch", format!("a fault brings 1 to {MOST_PAGES} pages, not {}", spec.batch));
    }
    // Of the experiment as a whole, which reads it itself.
    section.has("seeds");
    section.finish();
    Some((systems, spec))
}
