//! The benchmark functions: captured warm, attached, every answer checked.

mod functions_common;
mod template_common;

use emu::doctor::{skip, skip_without};
use emu::functions;
use emu::template::Subject;
use functions_common::places;
use template_common::{NEEDS, Place};

/// Functions of the short form of the test: both languages, with and without packages, and one without a runtime.
const FIVE: [&str; 5] = ["hello-world", "json-serde", "crypto", "image-processing", "page-touch"];

fn come_back(wanted: impl Fn(&str) -> bool) {
    if skip_without(NEEDS) {
        return;
    }
    let places = places();
    let place = Place::new();
    let mut failed = Vec::new();
    for manifest in functions::list(&places).unwrap() {
        let name = manifest.name.clone();
        if !wanted(&name) {
            continue;
        }
        let spec = match manifest.locate(&places) {
            Ok(spec) if places.image().join("usr").is_dir() => spec,
            _ => {
                skip(&format!("{name} is not set up (scripts/functions)"));
                continue;
            }
        };
        let subject = Subject::from(spec);
        let result = subject.capture(&place.manager, &place.store, 2).and_then(|(original, template)| {
            drop(original);
            for _ in 0..2 {
                let mut attached = place.attach(&template, &subject.program);
                for (_, input) in subject.inputs.all() {
                    subject.call(&mut attached.sandbox, input)?;
                }
            }
            Ok(())
        });
        if let Err(error) = result {
            failed.push(format!("{name}: {error}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn five_functions_come_back_warm() {
    come_back(|name| FIVE.contains(&name));
}

#[test]
#[ignore = "takes minutes: every function of the repository; part of scripts/reproduce --tier short"]
fn all_functions_come_back_warm() {
    come_back(|_| true);
}
