//! Many attaches in a row, and many at once.

mod template_common;

use emu::doctor::skip_without;
use emu::sandbox::Sandbox;
use emu::template::{Backing, Prepared, usage};
use serde_json::json;
use template_common::python::serving;
use template_common::{NEEDS, Place, ask, lacks};

/// State of some megabytes that every answer depends on.
const SCRIPT: &str = r#"
import hashlib, random
random.seed(7)
# One object: counting references to many would write every page.
state = bytearray(random.randbytes(16 << 20))
count = 0

def step(n):
    global count
    count += 1
    state[n << 12] = 1
    return [count, hashlib.sha256(state).hexdigest()]
"#;

fn in_a_row(times: usize) {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let program = place.script("many.py", &serving(SCRIPT));
    let mut original = place.start(&program);
    ask(&mut original, &json!("step(1)"));
    let template = place.capture(&original, "many").unwrap();
    let expected = [ask(&mut original, &json!("step(2)")), ask(&mut original, &json!("step(3)"))];
    let prepared = Prepared::new(&template, Backing::Map).unwrap();
    place.manager.prepare(&program);
    let mut used: Option<Sandbox> = Some(original);
    for nth in 0..times {
        let mut attached = prepared
            .start(&place.manager, used.take(), &program, None)
            .unwrap_or_else(|error| panic!("{nth}: {error}"));
        let answers =
            [ask(&mut attached.sandbox, &json!("step(2)")), ask(&mut attached.sandbox, &json!("step(3)"))];
        assert_eq!(answers, expected, "{nth}");
        used = Some(attached.sandbox);
    }
    template.verify().unwrap();
}

#[test]
fn a_hundred_in_a_row_answer_rightly() {
    in_a_row(100);
}

#[test]
#[ignore = "takes a minute: a thousand attaches; part of scripts/reproduce --tier short"]
fn a_thousand_in_a_row_answer_rightly() {
    in_a_row(1000);
}

#[test]
fn fifty_at_once_share_their_pages() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    const AT_ONCE: usize = 50;
    let place = Place::new();
    let program = place.script("many.py", &serving(SCRIPT));
    let mut original = place.start(&program);
    ask(&mut original, &json!("step(1)"));
    let template = place.capture(&original, "many").unwrap();
    let one = usage::of(original.function().unwrap().pid().unwrap()).unwrap();
    let expected = ask(&mut original, &json!("step(5)"));
    let prepared = Prepared::new(&template, Backing::Map).unwrap();
    let mut living = Vec::new();
    for _ in 0..AT_ONCE {
        living.push(prepared.start(&place.manager, None, &program, None).unwrap());
    }
    for attached in &mut living {
        assert_eq!(ask(&mut attached.sandbox, &json!("step(5)")), expected);
    }
    let mut proportional = 0;
    for attached in &mut living {
        proportional += usage::of(attached.function().pid().unwrap()).unwrap().proportional_bytes;
    }
    let alone = one.proportional_bytes * AT_ONCE as u64;
    println!("{AT_ONCE} at once: {} MiB, alone they would take {} MiB", proportional >> 20, alone >> 20);
    assert!(proportional * 3 < alone, "{proportional} of {alone} bytes");
}
