//! Pages from a device that is mapped as a whole, here a file in its place, and what becomes of processes when
//! somebody changes what is on it.

mod pager_common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use emu::doctor::skip_without;
use emu::pager::lab::Process;
use emu::pager::lab::program::Program;
use emu::pager::lab::tasks::Task;
use emu::pager::{Fate, Mode};
use emu::pool::device::Device;
use pager_common::{MODES, NEEDS, PAGES, Place, SOON, batch, touch};

fn device(place: &Place) -> PathBuf {
    let path = place.folder.path().join("device");
    File::create(&path).unwrap().set_len(8 << 20).unwrap();
    let device = Device::open_mut(&path).unwrap();
    device.format();
    device.fill("any name", &place.template).unwrap();
    path
}

#[test]
fn pages_come_from_a_device_and_nothing_goes_back() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let device = device(&place);
    let before = std::fs::read(&device).unwrap();
    let (server, client) = place.serve(&[&format!("devdax:{}", device.display())]);
    for mode in MODES {
        for k in [1, 64] {
            let (process, _) = Process::attached(&client, &place.template, PAGES, 4, batch(mode, k)).unwrap();
            assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 4));
        }
        let program = Program { seed: 3, steps: 300, threads: 2, maps: true, forks: false };
        let plain = Process::start(&emu::pager::lab::Arena::Plain(place.template.clone()), PAGES, 4).unwrap();
        let (process, _) = Process::attached(&client, &place.template, PAGES, 4, batch(mode, 16)).unwrap();
        let task = Task::Program(program);
        assert_eq!(process.run(&task).unwrap().hash, plain.run(&task).unwrap().hash);
    }
    assert!(std::fs::read(&device).unwrap() == before, "the device has changed");
    let sources = server.report().sources;
    assert!(sources.iter().all(|source| source.source.starts_with("cxl-devdax ")), "{sources:?}");
}

#[test]
fn a_device_without_the_template_is_named() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let path = device(&place);
    Device::open_mut(&path).unwrap().remove("any name").unwrap();
    let (_server, client) = place.serve(&[&format!("devdax:{}", path.display())]);
    let error = Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Private, 1)).unwrap_err();
    assert!(error.to_string().contains("no whole template with root hash"), "{error}");
}

#[test]
fn a_page_that_somebody_overwrote_comes_from_the_next_source_or_ends_the_process() {
    if skip_without(NEEDS) {
        return;
    }
    for with_file in [true, false] {
        let place = Place::new();
        let path = device(&place);
        let source = format!("devdax:{}", path.display());
        let start = Device::open(&path).unwrap().list().unwrap().0[0].start;
        let sources = if with_file { vec![source.as_str(), "file"] } else { vec![source.as_str()] };
        let (_server, client) = place.serve(&sources);
        let (process, attachment) =
            Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Private, 1)).unwrap();
        process.run(&touch(0, 10)).unwrap();
        let other = vec![0x5a; PAGES / 2 * 4096];
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&other, start + 64 * 4096).unwrap();
        process.begin(&touch(0, PAGES)).unwrap();
        if with_file {
            let done = process.finish(SOON).unwrap().expect("it lives");
            assert_eq!(done.hash, place.expected(0..PAGES, 1));
        } else {
            assert!(process.finish(SOON).unwrap().is_none(), "it got a wrong page");
            let Some(Fate::Ended(reason)) = attachment.fate(SOON) else { panic!("no reason was told") };
            assert!(reason.contains("cxl-devdax") && reason.contains("another hash"), "{reason}");
        }
    }
}
