//! The manager on a kernel that only keeps books: no privileges, every way to fail.

use super::*;
use crate::kernel::Fake;

fn manager(mode: Mode) -> (Fake, Manager) {
    let kernel = Fake::default();
    let manager = Manager::on(Config { ready: 0, ..Config::new(mode) }, Box::new(kernel.clone()));
    (kernel, manager)
}

fn program() -> Program {
    Program::new(["/bin/true"])
}

fn nothing_is_left(kernel: &Fake) {
    let books = kernel.books();
    assert!(books.cgroups.is_empty() && books.inits.is_empty(), "{books:?}");
}

#[test]
fn a_sandbox_is_made_in_order_and_taken_apart_whole() {
    let (kernel, manager) = manager(Mode::New);
    let sandbox = manager.create(&program()).unwrap();
    let made = ["make_cgroup", "set_limits", "spawn_init", "migrate", "network_namespace", "make_link"];
    assert_eq!(kernel.books().calls[..6], made);
    assert_eq!(kernel.books().calls[6..], ["make_root", "order"]);
    manager.destroy_now(sandbox).unwrap();
    nothing_is_left(&kernel);
    assert!(kernel.books().links.is_empty());
}

/// Whichever call fails, what was made before it is destroyed, and the next sandbox can be made.
#[test]
fn every_failure_on_the_way_takes_back_what_was_made() {
    for mode in [Mode::New, Mode::Repurpose, Mode::Setns] {
        let calls = {
            let (kernel, manager) = manager(mode);
            let sandbox = manager.create(&program()).unwrap();
            drop(sandbox);
            manager.settle();
            // The last two calls take it apart.
            kernel.books().calls.len() - 2
        };
        for at in 0..calls {
            let (kernel, manager) = manager(mode);
            kernel.books().fail_at = Some(at);
            let error = manager.create(&program()).expect_err("a call fails");
            assert!(matches!(error, Error::Step { number: 1, .. }), "{mode:?}, call {at}: {error}");
            manager.settle();
            nothing_is_left(&kernel);
            assert!(manager.create(&program()).is_ok(), "{mode:?}, after call {at}");
        }
    }
}

#[test]
fn a_failure_of_repurposing_destroys_the_sandbox() {
    for call in ["set_limits", "make_root", "order", "reset_counters", "totals"] {
        let (kernel, manager) = manager(Mode::Repurpose);
        let sandbox = manager.create(&program()).unwrap();
        let before = kernel.books().calls.len();
        let order = ["set_limits", "make_root", "order", "reset_counters", "totals"];
        let at = order.iter().position(|name| *name == call).expect("listed");
        kernel.books().fail_at = Some(before + at);
        manager.repurpose(sandbox, &program()).expect_err("a call fails");
        assert_eq!(kernel.books().calls[before + at], call);
        manager.settle();
        nothing_is_left(&kernel);
        assert_eq!(manager.statistics().repurposed, 0);
    }
}

#[test]
fn a_sandbox_that_looks_otherwise_is_destroyed_and_counted() {
    let (kernel, manager) = manager(Mode::Repurpose);
    let sandbox = manager.create(&program()).unwrap();
    let sandbox = manager.repurpose(sandbox, &program()).unwrap();
    kernel.books().looks = 1;
    let error = manager.repurpose(sandbox, &program()).unwrap_err();
    assert!(error.to_string().contains("not clean (links)"), "{error}");
    manager.settle();
    nothing_is_left(&kernel);
    assert_eq!(manager.statistics().unclean[&Part::Links], 1);
}

#[test]
fn the_check_can_be_left_out_by_suites_alone() {
    let kernel = Fake::default();
    let config = Config { ready: 0, without: vec![Reset::Check], ..Config::new(Mode::Repurpose) };
    let manager = Manager::on(config, Box::new(kernel.clone()));
    let sandbox = manager.create(&program()).unwrap();
    kernel.books().looks = 1;
    assert!(manager.repurpose(sandbox, &program()).is_ok());
}

#[test]
fn numbers_are_used_again_when_all_were_used() {
    let (_kernel, manager) = manager(Mode::New);
    for _ in 0..MOST {
        manager.destroy_now(manager.create(&program()).unwrap()).unwrap();
    }
    assert_eq!(manager.create(&program()).unwrap().number(), 1);
}

#[test]
fn roots_are_made_ready_and_taken() {
    let kernel = Fake::default();
    let config = Config { ready: 4, ..Config::new(Mode::Repurpose) };
    let manager = Manager::on(config, Box::new(kernel.clone()));
    manager.prepare(&program());
    manager.settle();
    assert_eq!(kernel.books().roots, 4);
    let sandbox = manager.create(&program()).unwrap();
    assert_eq!(manager.statistics().roots_ready, 1);
    drop(sandbox);
}

#[test]
fn the_pool_prefers_the_least_recently_used_of_the_same_tenant() {
    let (_kernel, manager) = manager(Mode::Repurpose);
    let mut pool = Pool::new(2);
    for _ in 0..3 {
        pool.put(7, manager.create_idle().unwrap());
    }
    // The pool keeps two: the oldest went.
    assert_eq!(pool.len(), 2);
    let (sandbox, origin) = manager.start_in(pool.take(7), &program(), &[]).unwrap();
    assert_eq!((sandbox.number(), origin), (2, Origin::Repurposed));
    pool.put(7, manager.vacate(sandbox).unwrap());
    assert!(pool.take(8).is_none(), "nobody gets another tenant's");
    assert_eq!(manager.start_in(None, &program(), &[]).unwrap().1, Origin::New);
    assert_eq!(pool.take(7).unwrap().number(), 3);
}

#[test]
fn a_cgroup_that_looks_otherwise_keeps_a_sandbox_from_the_pool() {
    let (kernel, manager) = manager(Mode::Repurpose);
    let sandbox = manager.vacate(manager.create(&program()).unwrap()).unwrap();
    kernel.books().cgroups_look = 1;
    let sandbox = manager.repurpose(sandbox, &program()).unwrap();
    let error = manager.vacate(sandbox).unwrap_err();
    assert!(error.to_string().contains("not clean (cgroup)"), "{error}");
    manager.settle();
    nothing_is_left(&kernel);
    assert_eq!(manager.statistics().unclean[&Part::Cgroup], 1);
}

#[test]
fn memory_that_is_still_held_keeps_a_sandbox_from_the_pool() {
    let (kernel, manager) = manager(Mode::Repurpose);
    let sandbox = manager.create(&program()).unwrap();
    kernel.books().memory_shared_bytes = 64 << 20;
    let error = manager.vacate(sandbox).unwrap_err();
    assert!(error.to_string().contains("not clean (memory)"), "{error}");
    assert_eq!(manager.statistics().unclean[&Part::Memory], 1);
}

#[test]
fn a_file_in_memory_that_programs_are_lent_is_not_held_against_them() {
    let kernel = Fake::default();
    let config = Config { ready: 0, lends_memory: true, ..Config::new(Mode::Repurpose) };
    let manager = Manager::on(config, Box::new(kernel.clone()));
    let sandbox = manager.create(&program()).unwrap();
    kernel.books().memory_shared_bytes = 64 << 20;
    assert!(manager.vacate(sandbox).is_ok());
}

/// The first look at a cgroup comes with the list of its members, which an init keeps.
#[test]
fn a_function_that_could_change_settings_has_its_cgroup_looked_at_before_the_next_start() {
    let (kernel, manager) = manager(Mode::Repurpose);
    let mighty = Program { confinement: Confinement::none(), ..program() };
    let sandbox = manager.create(&mighty).unwrap();
    kernel.books().cgroups_look = 1;
    let error = manager.repurpose(sandbox, &program()).unwrap_err();
    assert!(error.to_string().contains("not clean (cgroup)"), "{error}");
}
