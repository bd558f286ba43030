//! Pages that a request reads, writes and leaves alone are told apart.

mod functions_common;
mod template_common;

use emu::doctor::skip_without;
use emu::template::manifest::Class;
use emu::template::{Subject, groups};
use functions_common::inputs;
use serde_json::json;
use template_common::python::serving;
use template_common::{NEEDS, Place, ask, lacks};

/// Three blocks of 1,000 pages, apart from each other: one is written, one is read, one is left alone.
const SCRIPT: &str = r#"
import mmap
blocks = [mmap.mmap(-1, 1000 << 12, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for _ in range(3)]
for nth, block in enumerate(blocks):
    for page in range(1000):
        block[page << 12] = 1 + page % 200
        block[(page << 12) + 8:(page << 12) + 16] = (nth * 1000 + page).to_bytes(8, "little")

def look():
    for page in range(1000):
        blocks[0][(page << 12) + 100] = 5
    return {"n": sum(blocks[1][page << 12] for page in range(1000)) > 0 and 1}
"#;

#[test]
fn written_read_and_untouched_pages_are_told_apart() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let program = place.script("groups.py", &serving(SCRIPT));
    let mut original = place.start(&program);
    ask(&mut original, &json!("1"));
    let template = place.capture(&original, "groups").unwrap();
    let inputs = inputs(r#"{ input = "look()", expect = [{ at = "/n", equal = 1 }] }"#);
    let subject = Subject { name: "groups".into(), program, inputs };
    let found = groups::measure(&place.manager, &template, &subject, &subject.inputs.base).unwrap();
    let own = found[&Class::Function];
    assert_eq!(own.pages, own.written + own.read_only + own.untouched);
    // The interpreter's own objects come on top of the blocks, and what it writes before it waits for the request
    // counts as written without being touched by it: some hundred pages of each kind. How much an interpreter
    // holds that it does not touch is its own affair.
    let near = |pages: u64| (850..2200).contains(&pages);
    assert!(near(own.written) && near(own.read_only) && own.untouched >= 850, "{own:?}");
    assert!(found[&Class::Library].pages > 0 && found[&Class::Runtime].pages > 0);
}
