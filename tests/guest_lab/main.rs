//! Three guests with CXL memory and RDMA: pages come as their table says, whatever fails in between.
//!
//! One boot of three guests serves all checks of the pools: under emulation it takes 10 to 30 seconds. They share one CXL
//! device, as hosts of a rack do, and run the same commands as people do. Guest 1 is the pool for those who read by
//! RDMA; guests 2 and 3 compute, and guest 2 is the one that fills the CXL device.

mod cxl;
mod functions;
mod house;
mod peers;
mod processes;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use emu::doctor::{skip, skip_without};
use emu::guest::accelerator::Choice;
use emu::guest::{Accelerator, Lab, Spec};
use house::{House, alone, image, out};

const FACILITIES: [&str; 4] = ["qemu", "guest-kernel", "guest-cxl", "guest-rdma"];

#[test]
fn pages_come_right_from_cxl_and_rdma_whatever_fails() {
    if skip_without(&FACILITIES) {
        return;
    }
    let house = House::boot(functions::prepare);
    let mut last = Instant::now();
    let mut done = |what: &str| {
        println!("{what}: {:.1} s", last.elapsed().as_secs_f64());
        last = Instant::now();
    };
    cxl::devices_are_made(&house);
    let function = functions::a_function_is_put_into_the_pool(&house);
    done("devices made and filled");
    cxl::one_guest_fills_and_all_read(&house);
    done("both kinds of CXL device");
    if let Some(id) = function {
        functions::two_guests_attach_what_one_has_filled(&house, &id);
        done("a function in two guests, from CXL and by RDMA");
    }
    cxl::stores_go_to_local_memory_and_never_to_the_device(&house);
    done("copy on write");
    cxl::two_guests_fill_at_once(&house);
    done("filling at once");
    cxl::a_full_device_says_so(&house);
    done("full device");
    peers::a_pool_lets_in_only_who_may(&house);
    done("peers");
    peers::a_pool_answers_only_what_it_registered(&house);
    done("hostile client");
    processes::processes_are_served_by_rdma(&house);
    done("page faults by RDMA");
    processes::hot_pages_are_brought_back_to_cxl_memory(&house);
    done("hot pages on CXL, cold ones by RDMA");
    processes::processes_get_their_pages_through_failures(&house);
    done("page faults with new keys, failing queue pairs, link down");
    processes::processes_go_on_without_the_pool_or_end_with_a_reason(&house);
    done("page faults without a pool");
    processes::a_page_that_was_overwritten_in_the_pool_is_never_used(&house);
    done("overwritten pool");
    peers::readers_survive_what_can_be_survived(&house);
    done("new keys, failing queue pairs, link down");
    peers::readers_of_a_dead_pool_end_with_a_named_error(&house);
    done("dead pool");
    peers::a_pool_survives_a_guest_that_dies_while_it_reads(&house);
    done("dead guest");
    cxl::a_node_of_cxl_memory_holds_templates(&house);
    done("a node of CXL memory");
}

/// The kick tier of e11 on this machine, as it is typed: a function of a template attached in a guest, from local
/// memory and from a CXL device, and restored by CRIU.
#[test]
fn e11_measures_tiers_in_a_guest() {
    if skip_without(&["qemu", "guest-kernel", "guest-cxl"]) {
        return;
    }
    let out = out();
    if !out.join("images/base/usr").is_dir() {
        skip("no base image: run scripts/setup --functions");
        return;
    }
    let _alone = alone();
    // Its own folder of outputs, with the images of the real one.
    let own = tempfile::tempdir().expect("a temporary folder");
    for name in ["guest", "images", "functions"] {
        std::os::unix::fs::symlink(out.join(name), own.path().join(name)).expect("a link");
    }
    let ran = Command::new(env!("CARGO_BIN_EXE_trenvx"))
        .arg("--out")
        .arg(own.path())
        .args(["run", "e11", "--world", "emu", "--tier", "kick"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the command starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = fs::read_to_string(own.path().join("measurements/e11-kick.json")).expect("what was measured");
    let measured: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let rows = measured["rows"].as_array().expect("rows");
    for tier in ["dram", "cxl-fsdax", "rdma-batch", "criu"] {
        let of = |metric: &str| {
            let row = rows.iter().find(|row| row["subject"] == tier && row["metric"] == metric);
            let row = row.unwrap_or_else(|| panic!("{tier}, {metric}: {rows:?}"));
            let note = row["note"].as_str().unwrap_or_default();
            assert!(note.ends_with("emulated device: functional, not timing"), "{row}");
            row["median"].as_f64().unwrap_or_else(|| panic!("{row}"))
        };
        assert!(of("start") > 0.0 && of("pages") > 100.0 && of("private memory") > 1.0);
        assert!(of("verified pages") >= of("pages") / 2.0, "{tier}: {rows:?}");
    }
    let caption =
        fs::read_to_string(own.path().join("figures/e11-kick-emu/pools-start.json")).expect("a figure");
    assert!(caption.contains("emulated device: functional, not timing"), "{caption}");
}

/// Process numbers of guests of the lab of `owner`.
fn guests_of(owner: u32) -> Vec<String> {
    let marker = format!("guest=trenvx-lab:{owner}:");
    fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&marker)
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn guests_are_gone_with_a_command_that_was_killed() {
    if skip_without(&["qemu", "guest-kernel"]) {
        return;
    }
    let _alone = alone();
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_trenvx"))
        .args(["--out", &Path::new(env!("CARGO_MANIFEST_DIR")).join("out").display().to_string()])
        .args(["emu", "guest", "run", "--accelerator", "tcg", "--logs"])
        .arg(root.path())
        .args(["--", "sh", "-c", "echo there; sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut output = std::io::BufReader::new(command.stdout.take().expect("its output"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).expect("a line");
    assert_eq!(line, "there\n");
    assert_eq!(guests_of(command.id()).len(), 1);
    command.kill().expect("it lives");
    command.wait().expect("it ends");
    let until = Instant::now() + Duration::from_secs(5);
    while !guests_of(command.id()).is_empty() {
        assert!(Instant::now() < until, "guests are left: {:?}", guests_of(command.id()));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_guest_that_does_not_come_up_ends_in_time_with_its_console() {
    if skip_without(&["qemu", "guest-kernel"]) {
        return;
    }
    let _alone = alone();
    let root = tempfile::tempdir().expect("a temporary folder");
    let mut spec = Spec::new(&image(), Path::new("/no/such/program"), &root.path().join("logs"));
    let error = Lab::boot(&spec).expect_err("it has no agent").to_string();
    assert!(error.starts_with("cannot find /no/such/program"), "{error}");
    spec.program = "/bin/true".into();
    spec.accelerator = Choice::Only(Accelerator::Tcg);
    let error = Lab::boot(&spec).expect_err("that is no agent").to_string();
    assert!(error.starts_with("guest 1 is gone") && error.contains("Attempted to kill init"), "{error}");
    spec.boot_within = Duration::from_millis(300);
    let begin = Instant::now();
    let error = Lab::boot(&spec).expect_err("there is no time").to_string();
    assert!(error.contains("did not answer within"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(30), "it took {:?}", begin.elapsed());
    assert_eq!(guests_of(std::process::id()), Vec::<String>::new());
}
