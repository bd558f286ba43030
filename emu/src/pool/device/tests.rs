use super::*;
use crate::pool::survey::{survey, synthetic};
use std::os::unix::fs::FileExt;

struct Pool {
    folder: tempfile::TempDir,
}

impl Pool {
    /// A file of so many MiB as a device, formatted.
    fn of_mib(mib: u64) -> Self {
        let pool = Self { folder: tempfile::tempdir().unwrap() };
        File::create(pool.path()).unwrap().set_len(mib << 20).unwrap();
        pool.device().format();
        pool
    }
    fn path(&self) -> PathBuf {
        self.folder.path().join("device")
    }
    fn device(&self) -> Device {
        Device::open_mut(&self.path()).unwrap()
    }
    fn template(&self, name: &str, pages: u64, seed: u64) -> PathBuf {
        let path = self.folder.path().join(name);
        synthetic(&path, pages, seed).unwrap();
        path
    }
}

#[test]
fn a_template_comes_back_as_it_was_filled() {
    let pool = Pool::of_mib(16);
    let template = pool.template("t", 700, 1);
    pool.device().fill("python", &template).unwrap();
    let mut reader = Device::open(&pool.path()).unwrap().template("python").unwrap();
    assert_eq!(survey(&mut reader, 16).unwrap().pages, 613);
    let error = reader.read(&[700], &mut [[0; PAGE]]).unwrap_err();
    assert!(matches!(error, ReadError::NoPage { page: 700, pages: 700, .. }), "{error}");
}

#[test]
fn a_full_pool_says_how_much_room_there_is_and_stays_as_it_is() {
    let pool = Pool::of_mib(8);
    let template = pool.template("t", 700, 1);
    pool.device().fill("one", &template).unwrap();
    let error = pool.device().fill("two", &template).unwrap_err();
    assert!(error.to_string().ends_with("full: 4 MiB are wanted and the largest gap has 2 MiB"), "{error}");
    let small = pool.template("s", 100, 2);
    pool.device().fill("three", &small).unwrap();
    pool.device().remove("one").unwrap();
    pool.device().fill("two", &template).unwrap();
    let names: Vec<String> = pool.device().list().unwrap().0.into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["two", "three"]);
}

#[test]
fn hosts_that_fill_at_once_get_different_places_and_only_one_gets_a_name() {
    let pool = Pool::of_mib(64);
    let templates: Vec<PathBuf> = (0..4).map(|seed| pool.template(&format!("t{seed}"), 300, seed)).collect();
    let ends: Vec<Result<Entry, DeviceError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = templates
            .iter()
            .enumerate()
            .flat_map(|(seed, template)| [(seed, template), (seed, template)])
            .map(|(seed, template)| {
                let pool = &pool;
                scope.spawn(move || pool.device().fill(&format!("f{seed}"), template))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 4, "{ends:?}");
    for seed in 0..4 {
        let mut reader = Device::open(&pool.path()).unwrap().template(&format!("f{seed}")).unwrap();
        survey(&mut reader, 8).unwrap();
    }
}

#[test]
fn a_filler_that_died_leaves_an_entry_that_is_refused_and_can_be_removed() {
    let pool = Pool::of_mib(16);
    let device = pool.device();
    let directory = Directory::open(&device.memory).unwrap();
    directory.reserve(7, "half", 10, [1; 32]).unwrap();
    let error = pool.device().template("half").unwrap_err();
    assert!(error.to_string().contains("being filled, or its filler died"), "{error}");
    device.remove("half").unwrap();
    assert_eq!(device.list().unwrap(), (vec![], vec![]));
}

#[test]
fn who_fills_what_was_removed_publishes_nothing_and_leaves_the_next_owner_alone() {
    let pool = Pool::of_mib(16);
    let template = pool.template("t", 10, 1);
    let device = pool.device();
    let directory = Directory::open(&device.memory).unwrap();
    let late = directory.reserve(7, "a", 10, [1; 32]).unwrap();
    pool.device().remove("a").unwrap();
    assert_eq!(directory.publish(&late), Err(DirectoryError::Taken("a".into())));
    assert_eq!(device.list().unwrap().0, []);
    // The slot and the name are another's now.
    let entry = pool.device().fill("a", &template).unwrap();
    assert_eq!(directory.publish(&late), Err(DirectoryError::Taken("a".into())));
    assert_eq!(directory.give_back(&late), Err(DirectoryError::Taken("a".into())));
    assert_eq!(device.list().unwrap().0, [entry]);
}

#[test]
fn a_damaged_slot_costs_its_own_template_only() {
    let pool = Pool::of_mib(16);
    let template = pool.template("t", 10, 1);
    for name in ["a", "b"] {
        pool.device().fill(name, &template).unwrap();
    }
    let file = File::options().write(true).open(pool.path()).unwrap();
    file.write_all_at(&[0xff; 4], 4096 + 72).unwrap();
    let (entries, damages) = pool.device().list().unwrap();
    assert_eq!((entries.len(), damages.len(), damages[0].slot), (1, 1, 0));
    survey(&mut pool.device().template("b").unwrap(), 4).unwrap();
    let error = pool.device().fill("c", &template).unwrap_err();
    assert!(error.to_string().contains("remove --slot 0"), "{error}");
    assert!(pool.device().clear(1).unwrap_err().to_string().contains("slot 1 is not damaged"));
    pool.device().clear(0).unwrap();
    pool.device().fill("c", &template).unwrap();
    pool.device().remove("b").unwrap();
}

#[test]
fn who_reads_while_slots_change_hands_sees_whole_entries() {
    let pool = Pool::of_mib(16);
    let templates = [pool.template("s", 3, 1), pool.template("t", 5, 2)];
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let device = pool.device();
            for turn in 0..300 {
                device.fill("same", &templates[turn % 2]).unwrap();
                device.remove("same").unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let device = Device::open(&pool.path()).unwrap();
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let (entries, damages) = device.list().unwrap();
            assert_eq!(damages, []);
            assert!(entries.iter().all(|entry| matches!(entry.pages, 3 | 5)), "{entries:?}");
        }
    });
}

#[test]
fn a_lock_of_a_dead_host_is_named_and_can_be_broken() {
    let pool = Pool::of_mib(16);
    let template = pool.template("t", 10, 1);
    let file = File::options().write(true).open(pool.path()).unwrap();
    file.write_all_at(&0xdead_u64.to_le_bytes(), 24).unwrap();
    let error = pool.device().fill("a", &template).unwrap_err();
    assert!(error.to_string().contains("host dead has locked the pool"), "{error}");
    assert_eq!(pool.device().unlock().unwrap(), 0xdead);
    pool.device().fill("a", &template).unwrap();
}

#[test]
fn every_damage_is_found() {
    let pool = Pool::of_mib(16);
    let template = pool.template("t", 20, 1);
    let entry = pool.device().fill("a", &template).unwrap();
    let file = File::options().read(true).write(true).open(pool.path()).unwrap();
    let flip = |at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
    };
    // Magic, version, size, check; a slot's owner, start, root, name, check; the table; a page.
    let places = [0, 8, 16, 40, 4104, 4112, 4136, 4168, 4232, entry.table + 5, entry.start + 7];
    for at in places {
        flip(at);
        let read = Device::open(&pool.path()).unwrap().template("a").map_err(|error| error.to_string());
        let outcome = read.and_then(|mut reader| survey(&mut reader, 4).map_err(|error| error.to_string()));
        assert!(outcome.is_err(), "byte {at}");
        flip(at);
    }
    survey(&mut pool.device().template("a").unwrap(), 4).unwrap();
}
