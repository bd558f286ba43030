//! Goal: a template that is damaged, foreign or half there is refused with the reason. Method: spoil copies of one.

mod vm_common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use vm_common::{Bed, bed};

fn why(bed: &Bed, name: &str) -> String {
    bed.load(name).err().map(|error| error.to_string()).unwrap_or_default()
}

/// Turns a byte of a file over.
fn damage(file: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}

#[test]
fn spoilt_templates_are_refused_with_the_reason() {
    let Some(bed) = bed() else { return };
    let folder = bed.out.join("vm/templates/spoilt");
    bed.copied("spoilt");
    assert_eq!(why(&bed, "spoilt"), "");

    damage(&folder.join("memory"), 20 << 20);
    assert!(why(&bed, "spoilt").contains("its memory is damaged: its BLAKE3 is"), "{}", why(&bed, "spoilt"));

    bed.copied("spoilt");
    damage(&folder.join("state"), 1000);
    assert!(why(&bed, "spoilt").contains("its state of devices is damaged"), "{}", why(&bed, "spoilt"));

    bed.copied("spoilt");
    let memory = fs::File::options().write(true).open(folder.join("memory")).unwrap();
    memory.set_len(1 << 20).unwrap();
    assert!(why(&bed, "spoilt").contains("1048576 bytes instead of"), "{}", why(&bed, "spoilt"));

    bed.copied("spoilt");
    let manifest = fs::read_to_string(folder.join("manifest.json")).unwrap();
    let recipe = &bed.setting.image.about.recipe;
    fs::write(folder.join("manifest.json"), manifest.replace(recipe.as_str(), "another")).unwrap();
    assert!(why(&bed, "spoilt").contains("booted from image another"), "{}", why(&bed, "spoilt"));

    fs::write(folder.join("manifest.json"), "{").unwrap();
    assert!(why(&bed, "spoilt").contains("manifest.json"), "{}", why(&bed, "spoilt"));
    emu::vm::template::remove(&bed.out, "spoilt").unwrap();
    assert!(why(&bed, "spoilt").contains("there is none"), "{}", why(&bed, "spoilt"));
}
