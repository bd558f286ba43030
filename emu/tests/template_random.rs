//! A program that writes, reads, maps, unmaps and protects memory at random gives the same answers in the original
//! and in its attached copies, by every way of bringing pages back, with dropped and grown memory among it.

mod template_common;

use std::fs::File;
use std::sync::Arc;

use emu::doctor::skip_without;
use emu::pager::export::{Export, Exported};
use emu::pager::source::dram::Dram;
use emu::pager::{Options, Prefetch};
use emu::sandbox::Program;
use emu::template::pages::{PAGES, PageTable, TABLE};
use emu::template::{Attached, Backing, Prepared, Template};
use serde_json::{Value, json};
use template_common::python::serving;
use template_common::random::SCRIPT;
use template_common::served::{PageServer, SERVED};
use template_common::{NEEDS, Place, ask, lacks};

/// Steps of the function, and what the original answers to them.
struct Steps {
    place: Place,
    program: Program,
    template: Template,
    calls: Vec<Value>,
    expected: Vec<Value>,
}

impl Steps {
    /// Nothing if the machine lacks something.
    fn new(backing: Backing) -> Option<Self> {
        if skip_without(NEEDS) || lacks("python3") || (backing.is_served() && skip_without(SERVED)) {
            return None;
        }
        let place = Place::new();
        let program = place.script("differ.py", &serving(SCRIPT));
        let mut original = place.start(&program);
        ask(&mut original, &json!("step(1, 400, 1)"));
        let template = place.capture(&original, "random").unwrap();
        let calls: Vec<Value> = (0..12).map(|seed| json!(format!("step({seed}, 150, 1)"))).collect();
        let expected = calls.iter().map(|call| ask(&mut original, call)).collect();
        Some(Self { place, program, template, calls, expected })
    }

    /// An attached copy answers as the original did.
    #[track_caller]
    fn hold(&self, mut attached: Attached) {
        let found: Vec<Value> = self.calls.iter().map(|call| ask(&mut attached.sandbox, call)).collect();
        assert_eq!(found, self.expected);
        self.place.manager.destroy(attached.sandbox);
    }

    /// By a page server with such a source.
    #[track_caller]
    fn served(&self, backing: Backing, source: &str, with: impl Fn(&mut Options)) {
        let server = PageServer::start(self.place.folder.path(), source);
        let prepared = Prepared::new(&self.template, backing).unwrap();
        for batch in [1, 16] {
            let mut options = server.options(&prepared, batch);
            with(&mut options);
            let place = (&self.place.manager, &self.program);
            let (attached, _) = server.attach_with(&prepared, &self.template, place, options).unwrap();
            self.hold(attached);
        }
    }
}

/// Sources that take their time, so that events and faults meet reads that are under way, and one that does not.
const SOURCES: [&str; 3] = ["dram,latency=20us,spread=50%", "file", "dram"];

#[test]
fn by_private_mappings() {
    let Some(steps) = Steps::new(Backing::Map) else { return };
    steps.hold(steps.place.attach(&steps.template, &steps.program));
}

#[test]
fn by_copies() {
    let Some(steps) = Steps::new(Backing::Copy) else { return };
    steps.hold(steps.place.attach_by(&steps.template, &steps.program, Backing::Copy));
}

#[test]
fn by_a_page_server_that_copies() {
    let Some(steps) = Steps::new(Backing::Fault) else { return };
    SOURCES.iter().for_each(|source| steps.served(Backing::Fault, source, |_| {}));
}

#[test]
fn by_a_page_server_with_a_cache() {
    let Some(steps) = Steps::new(Backing::FaultShared) else { return };
    SOURCES.iter().for_each(|source| steps.served(Backing::FaultShared, source, |_| {}));
}

#[test]
fn by_a_page_server_over_tcp() {
    let Some(steps) = Steps::new(Backing::Fault) else { return };
    let table = PageTable::read(&steps.template.folder().join(TABLE)).unwrap();
    let file = File::open(steps.template.folder().join(PAGES)).unwrap();
    let source = Arc::new(Dram::open(&file, &table).unwrap());
    let export = Export::start("127.0.0.1:0", vec![Exported { root: table.root(), source }]).unwrap();
    let source = format!("tcp:{}", export.address());
    for backing in [Backing::Fault, Backing::FaultShared] {
        steps.served(backing, &source, |_| {});
    }
}

#[test]
fn with_pages_that_come_before_they_are_touched() {
    let Some(steps) = Steps::new(Backing::Fault) else { return };
    for backing in [Backing::Fault, Backing::FaultShared] {
        let record = steps.template.folder().join("working-set");
        steps.served(backing, "dram", |options| options.record = true);
        let end = std::time::Instant::now() + template_common::WITHIN;
        while !record.exists() {
            assert!(std::time::Instant::now() < end, "no working set was recorded");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        for prefetch in [Prefetch::WorkingSet, Prefetch::Regions { gap: 8 }, Prefetch::All] {
            steps.served(backing, "dram,latency=20us", |options| options.prefetch = prefetch);
        }
        steps.served(backing, "dram,latency=20us", |options| options.background = true);
        std::fs::remove_file(record).unwrap();
    }
}
