//! Templates that are damaged, foreign, or removed while somebody is attached.

mod template_common;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use emu::doctor::skip_without;
use emu::sandbox::{Program, Sandbox};
use emu::template::{Backing, Error, Prepared, Store, Template};
use serde_json::json;
use template_common::python::serving;
use template_common::{NEEDS, Place, ask, lacks};

fn captured(place: &Place) -> (Program, Sandbox, Template) {
    let program = place.native(&["1000000", "3"]);
    let original = place.start(&program);
    let template = place.capture(&original, "native").unwrap();
    (program, original, template)
}

/// Changes the manifest's text and gives the folder the name that belongs to it: a template of another maker.
fn change(template: &Template, from: &str, to: &str) -> String {
    let path = template.folder().join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    let text = text.replacen(from, to, 1);
    fs::write(&path, &text).unwrap();
    let id = blake3::hash(text.as_bytes()).to_hex()[..32].to_owned();
    fs::rename(template.folder(), template.folder().with_file_name(&id)).unwrap();
    id
}

#[test]
fn a_template_from_another_kernel_is_refused() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (_, _original, template) = captured(&place);
    let vdso = template.manifest().machine.vdso.clone();
    let id = change(&template, &vdso, &"0".repeat(vdso.len()));
    let template = place.store.find(&id).unwrap();
    let error = Prepared::new(&template, Backing::Map).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }) && error.to_string().contains("vdso"), "{error}");
}

#[test]
fn a_template_of_another_version_is_refused() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (_, _original, template) = captured(&place);
    let id = change(&template, "\"version\": 2", "\"version\": 9");
    let error = place.store.find(&id).unwrap_err();
    assert!(error.to_string().contains("version 9"), "{error}");
}

#[test]
fn a_damaged_template_is_refused_with_the_reason() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (_, _original, template) = captured(&place);
    let id = template.id().to_owned();
    let flip = |name: &str, at: u64| {
        let file = fs::File::options().read(true).write(true).open(template.folder().join(name)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };
    let length = |name: &str| fs::metadata(template.folder().join(name)).unwrap().len();

    flip("manifest.json", length("manifest.json") / 2);
    let error = place.store.find(&id).unwrap_err();
    assert!(error.to_string().contains("its manifest is that of"), "{error}");
    flip("manifest.json", length("manifest.json") / 2);

    flip("pages.table", length("pages.table") - 1);
    assert!(matches!(place.store.find(&id).unwrap().verify(), Err(Error::Table { .. })));
    flip("pages.table", length("pages.table") - 1);

    let run = template.manifest().areas.iter().flat_map(|area| &area.runs).next().unwrap();
    flip("pages", run.first_page * 4096 + 17);
    let found = place.store.find(&id).unwrap();
    let named = format!("page {} is not", run.first_page);
    let error = found.verify().unwrap_err();
    assert!(error.to_string().contains(&named), "{error}");
    // Nobody gets it: neither as a mapping nor as a copy.
    for backing in [Backing::Map, Backing::Copy] {
        let error = Prepared::new(&found, backing).unwrap_err();
        assert!(error.to_string().contains(&named), "{error}");
    }
    flip("pages", run.first_page * 4096 + 17);
    place.store.find(&id).unwrap().verify().unwrap();
    // Neither what lies in a gap nor a page that has become a hole goes unseen.
    let gap = template.manifest().pages.span * 4096 + 5;
    flip("pages", gap);
    assert!(found.verify().unwrap_err().to_string().contains("is not what its table says"));
    flip("pages", gap);
    let pages = fs::File::options().write(true).open(template.folder().join("pages")).unwrap();
    let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&pages, hole, run.first_page * 4096, 4096).unwrap();
    assert!(found.verify().unwrap_err().to_string().contains(&named));

    fs::File::options().write(true).open(template.folder().join("pages")).unwrap().set_len(8192).unwrap();
    let error = place.store.find(&id).unwrap_err();
    assert!(error.to_string().contains("8192 bytes"), "{error}");
}

#[test]
fn a_template_that_is_removed_lives_on_in_those_that_are_attached() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (program, _original, template) = captured(&place);
    let prepared = Prepared::new(&template, Backing::Map).unwrap();
    let mut attached = prepared.start(&place.manager, None, &program, None).unwrap();
    place.store.remove(template.id()).unwrap();
    assert!(place.store.ids().unwrap().is_empty());
    assert_eq!(ask(&mut attached.sandbox, &json!({ "still": 1 }))["still"], 1);
    // Whoever had it open can still attach it.
    let mut another = prepared.start(&place.manager, None, &program, None).unwrap();
    assert_eq!(ask(&mut another.sandbox, &json!({ "still": 2 }))["still"], 2);
    assert!(matches!(place.store.find(template.id()), Err(Error::Unknown { .. })));
}

#[test]
fn a_store_is_made_with_its_first_template_and_what_is_there_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let (there, new) = (Store::open(folder.path()).unwrap(), folder.path().join("new"));
    assert_eq!(mode(folder.path()), 0o1777);
    let store = Store::open(&new).unwrap();
    assert!(store.ids().unwrap().is_empty() && store.remove_leavings().unwrap().is_empty());
    assert_eq!(store.sharing().unwrap().templates.len() + there.ids().unwrap().len(), 0);
    assert!(matches!(store.find("00"), Err(Error::Unknown { .. })));
    assert!(!new.exists());
    fs::write(&new, "").unwrap();
    assert!(Store::open(&new).unwrap_err().to_string().contains("new"));
}

#[test]
fn templates_are_closed_to_others_and_a_store_that_cannot_be_written_is_read() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (program, _original, template) = captured(&place);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(place.store.folder()), mode(template.folder())), (0o700, 0o700));
    let folder = place.store.folder();
    let mount = |flags| rustix::mount::mount_remount(folder, flags, "");
    rustix::mount::mount_bind(folder, folder).unwrap();
    let only_read = rustix::mount::MountFlags::BIND | rustix::mount::MountFlags::RDONLY;
    let remounted = mount(only_read);
    let found = Store::open(folder).and_then(|store| store.find(template.id()));
    let attached = found.as_ref().ok().map(|found| place.attach(found, &program));
    let refused = place.capture(&place.start(&program), "another").unwrap_err();
    let unmounted = rustix::mount::unmount(folder, rustix::mount::UnmountFlags::DETACH);
    remounted.and(unmounted).unwrap();
    assert_eq!(ask(&mut attached.unwrap().sandbox, &json!({ "read": 1 }))["read"], 1);
    assert!(refused.to_string().contains("Read-only file system"), "{refused}");
}

#[test]
fn a_template_is_not_mixed_with_files_that_were_rebuilt_since() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (program, _original, template) = captured(&place);
    let path = program.layers[0].join("function/native");
    let content = fs::read(&path).unwrap();
    // The same again is as good.
    let write = |content: &[u8]| {
        fs::remove_file(&path).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    write(&content);
    place.attach(&template, &program);
    let mut other = content;
    *other.last_mut().unwrap() ^= 1;
    write(&other);
    let prepared = Prepared::new(&template, Backing::Map).unwrap();
    let error = prepared.start(&place.manager, None, &program, None).unwrap_err().to_string();
    assert!(error.contains("/function/native is not the file that was there"), "{error}");
}

#[test]
fn a_file_that_is_open_is_compared_too() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let program = place.script("reads.py", &serving("held = open('/function/reads.py')"));
    let original = place.start(&program);
    let template = place.capture(&original, "reads").unwrap();
    assert!(template.manifest().known_files.iter().any(|file| file.path == "/function/reads.py"));
    place.script("reads.py", &serving("held = open('/function/other')"));
    let prepared = Prepared::new(&template, Backing::Map).unwrap();
    let error = prepared.start(&place.manager, None, &program, None).unwrap_err().to_string();
    assert!(error.contains("/function/reads.py is not the file"), "{error}");
}

#[test]
fn one_damaged_template_does_not_hide_the_others() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (_, original, template) = captured(&place);
    let second = place.capture(&original, "later").unwrap();
    let old = change(&second, "\"version\": ", "\"version\": 9");
    let sharing = place.store.sharing().unwrap();
    assert_eq!(sharing.templates.iter().map(|row| &*row.id).collect::<Vec<_>>(), [template.id()]);
    assert!(matches!(&sharing.unreadable[..], [only] if only.contains(&old)), "{:?}", sharing.unreadable);
}

#[test]
fn what_a_killed_writer_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    // No process has this number: it is beyond the kernel's last.
    let left = folder.path().join(".partial-4194999-0");
    let living = folder.path().join(format!(".partial-{}-9", std::process::id()));
    for folder in [&left, &living] {
        fs::create_dir(folder).unwrap();
    }
    assert_eq!(store.remove_leavings().unwrap(), vec![left.clone()]);
    assert!(!Path::new(&left).exists() && living.exists());
    assert!(store.ids().unwrap().is_empty());
}

#[test]
fn pages_that_are_alike_are_counted() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (_, mut original, template) = captured(&place);
    ask(&mut original, &json!({ "another": "state" }));
    let second = place.capture(&original, "later").unwrap();
    let sharing = place.store.sharing().unwrap();
    let held = template.manifest().pages.present + second.manifest().pages.present;
    assert_eq!(sharing.pages, held);
    let duplicates = sharing.duplicates_within + sharing.duplicates_across;
    assert_eq!(sharing.unique_bytes, (held - duplicates) * 4096);
    // Two moments of one process have most in common.
    assert!(sharing.duplicates_across * 10 > second.manifest().pages.present * 5, "{sharing:?}");
    let difference = emu::template::inspect::compare(&template, &second).unwrap();
    assert!(difference.same_place > 0 && difference.changed > 0, "{difference:?}");
}
