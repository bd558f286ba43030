//! Near memory in front of a farther source: what is used again and again is brought back to it, and nobody sees a
//! difference.

mod pager_common;

use std::path::Path;

use emu::doctor::skip_without;
use emu::pager::lab::Process;
use emu::pager::stats::SourceSums;
use emu::pager::{Client, Mode, Options, Server};
use pager_common::{NEEDS, PAGES, Place, batch, eventually, touch};

/// Pages of the usual template that are not zeros.
const PRESENT: u64 = (PAGES - PAGES / 7) as u64;

fn use_all(place: &Place, client: &Client, options: Options) {
    let (process, _) = Process::attached(client, &place.template, PAGES, 1, options).unwrap();
    assert_eq!(process.run(&touch(0, PAGES)).unwrap().hash, place.expected(0..PAGES, 1));
}

fn of(server: &Server, kind: &str) -> SourceSums {
    let sources = server.report().sources;
    sources.into_iter().find(|source| source.source.starts_with(kind)).unwrap().counts
}

fn near(folder: &Path, more: &str) -> String {
    format!("near:{}{more}", folder.display())
}

#[test]
fn pages_that_are_used_again_and_again_are_brought_back() {
    if skip_without(NEEDS) {
        return;
    }
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    let (server, client) = place.serve(&[&near(folder.path(), ",after=3"), "file"]);
    for uses in 1..=3 {
        use_all(&place, &client, batch(Mode::Private, 1));
        assert_eq!(of(&server, "file").pages, uses * PRESENT);
    }
    // In its own time; nobody has waited for it. Until then the pages come from where they came from.
    let mut uses = 0;
    eventually("everything comes from near", || {
        let before = of(&server, "near").pages;
        use_all(&place, &client, batch(Mode::Private, 16));
        uses += 1;
        of(&server, "near").pages - before == PRESENT
    });
    let far = of(&server, "file").pages;
    assert!(far < (3 + uses) * PRESENT, "{uses} uses");
    use_all(&place, &client, batch(Mode::Private, 64));
    assert_eq!(of(&server, "file").pages, far);
    assert_eq!((of(&server, "near").failures, of(&server, "near").wrong_pages), (0, 0));
    drop((client, server));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something is left");
}

#[test]
fn a_recorded_working_set_is_brought_with_its_first_use_and_room_is_kept_to() {
    if skip_without(NEEDS) {
        return;
    }
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    {
        let (_server, client) = place.serve(&["file"]);
        let options = Options { record: true, ..batch(Mode::Private, 1) };
        let (process, _) = Process::attached(&client, &place.template, PAGES, 1, options).unwrap();
        process.run(&touch(0, 64)).unwrap();
        drop(process);
        eventually("the working set is written", || place.template.join("working-set").exists());
    }
    let (server, client) = place.serve(&[&near(folder.path(), ",after=200"), "file"]);
    use_all(&place, &client, batch(Mode::Private, 1));
    let hot = (64 - 64 / 7) as u64;
    eventually("the working set comes from near", || {
        let before = of(&server, "near").pages;
        use_all(&place, &client, batch(Mode::Private, 1));
        of(&server, "near").pages - before == hot
    });
    drop((client, server));

    let (server, client) = place.serve(&[&near(folder.path(), ",after=1,mib=1"), "file"]);
    for _ in 0..20 {
        use_all(&place, &client, batch(Mode::Shared, 16));
    }
    // One cache for all: each page was fetched once, so none was used again.
    assert_eq!((of(&server, "near").pages, of(&server, "file").pages), (0, PRESENT));
}
