//! Pages that a request reads, writes and leaves alone are told apart, one by one.

mod functions_common;
mod template_common;

use emu::doctor::skip_without;
use emu::template::groups::Counted;
use emu::template::manifest::Class;
use emu::template::{Subject, groups};
use functions_common::inputs;
use serde_json::json;
use template_common::python::serving;
use template_common::{NEEDS, Place, ask, lacks};

/// Three blocks of 1,000 pages, apart from each other: each request writes one, reads one and leaves one alone, as
/// its argument says how many pages of them; and it allocates memory that is in no template.
const SCRIPT: &str = r#"
import mmap
def block():
    return mmap.mmap(-1, 1000 << 12, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
blocks = [block() for _ in range(3)]
for nth, one in enumerate(blocks):
    for page in range(1000):
        one[page << 12] = 1 + page % 200
        one[(page << 12) + 8:(page << 12) + 16] = (nth * 1000 + page).to_bytes(8, "little")

def look(writes, reads, fresh):
    more = block()
    for page in range(fresh):
        more[page << 12] = 1
    for page in range(writes):
        blocks[0][(page << 12) + 100] = 5
    n = sum(blocks[1][page << 12] > 0 for page in range(reads))
    more.close()
    return {"n": n}
"#;

/// What requests do, each `(pages written, pages read, fresh pages)`.
fn counted(requests: &[[u64; 3]]) -> Option<Counted> {
    if skip_without(&[NEEDS, groups::NEEDS].concat()) || lacks("python3") {
        return None;
    }
    let place = Place::new();
    let program = place.script("groups.py", &serving(SCRIPT));
    let mut original = place.start(&program);
    ask(&mut original, &json!("look(1, 1, 1)"));
    let template = place.capture(&original, "groups").unwrap();
    let all: Vec<_> = requests
        .iter()
        .map(|[writes, reads, fresh]| {
            inputs(&format!(
                r#"{{ input = "look({writes}, {reads}, {fresh})", expect = [{{ at = "/n", equal = {reads} }}] }}"#
            ))
        })
        .collect();
    let subject = Subject { name: "groups".into(), program, inputs: all[0].clone() };
    let bases: Vec<_> = all.iter().map(|inputs| &inputs.base).collect();
    Some(groups::measure(&place.manager, &template, &subject, &bases).unwrap())
}

#[test]
fn a_page_more_is_counted_as_one_page_more() {
    let Some(few) = counted(&[[100, 100, 10]]) else { return };
    let Some(many) = counted(&[[400, 900, 710]]) else { return };
    let (few_own, own) = (few.groups[&Class::Function], many.groups[&Class::Function]);
    assert_eq!(own.pages, own.written + own.read_only + own.untouched);
    // The interpreter's own objects come on top of the blocks, nearly the same in both runs.
    let near = |found: u64, wanted: u64| found.abs_diff(wanted) <= 12;
    assert!(near(own.written - few_own.written, 300), "{few_own:?} {own:?}");
    assert!(near(own.read_only - few_own.read_only, 800), "{few_own:?} {own:?}");
    assert!(near(few_own.untouched - own.untouched, 1100), "{few_own:?} {own:?}");
    // What is in no template is neither read nor written of it. The kernel's counters are exact to some pages.
    assert!((many.fresh - few.fresh).abs_diff(700) <= 150, "{} {}", few.fresh, many.fresh);
    assert!(many.groups[&Class::Library].pages > 0 && many.groups[&Class::Runtime].pages > 0);
}

#[test]
fn each_invocation_has_what_it_touches_first_and_all_that_it_writes() {
    let Some(counted) = counted(&[[100, 500, 0], [300, 500, 0], [300, 800, 0]]) else { return };
    let [first, second, third] = counted.calls[..] else { panic!("{counted:?}") };
    let near = |found: u64, wanted: u64| (wanted..wanted + 60).contains(&found);
    assert!(first.first_touched > 600 && first.written > 100, "{counted:?}");
    assert!(near(second.first_touched, 200) && near(second.first_written, 200), "{counted:?}");
    assert!(second.written >= 300 && third.written >= 300, "written again: {counted:?}");
    assert!(near(third.first_touched, 300) && near(third.first_written, 0), "{counted:?}");
    let own = counted.groups[&Class::Function];
    assert!(own.untouched >= 700 + 200 + 1000, "{own:?}");
}
