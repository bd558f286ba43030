//! A native program, captured and attached.

mod template_common;

use emu::doctor::skip_without;
use serde_json::json;
use template_common::{NEEDS, Place, ask};

#[test]
fn a_native_program_goes_on_where_it_was() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let program = place.native(&["4000000", "7"]);
    let mut original = place.start(&program);
    assert_eq!(ask(&mut original, &json!({ "hello": 1 }))["hello"], 1);
    let template = place.capture(&original, "native").unwrap();
    template.verify().unwrap();
    for _ in 0..3 {
        let mut attached = place.attach(&template, &program);
        assert_eq!(ask(&mut attached.sandbox, &json!({ "hello": 2 }))["hello"], 2);
    }
    // It has not noticed.
    assert_eq!(ask(&mut original, &json!({ "hello": 3 }))["hello"], 3);
}
