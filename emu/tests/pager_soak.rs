//! Processes come and go for seconds; `scripts/soak` does the same for as long as you like.

mod pager_common;

use std::time::Duration;

use emu::doctor::skip_without;
use pager_common::NEEDS;

#[test]
fn nothing_grows() {
    if skip_without(NEEDS) {
        return;
    }
    // Alone in its process, because it counts what the process has: it calls itself.
    if std::env::var_os("TRENVX_ALONE").is_none() {
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        alone.args(["--exact", "nothing_grows", "--nocapture"]).env("TRENVX_ALONE", "1");
        let output = alone.output().unwrap();
        print!("{}", String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let soak = emu::pager::lab::soak::run(folder.path(), Duration::from_secs(6), 3, |_| {}).unwrap();
    println!("{} processes, {} killed, {} programs", soak.processes, soak.killed, soak.programs);
    assert!(soak.programs > 0 && soak.killed > 0 && soak.states.len() > 3);
    let before = &soak.states[soak.states.len() / 4];
    assert_eq!(soak.states.last().unwrap().grown_since(before), Vec::<String>::new());
}
