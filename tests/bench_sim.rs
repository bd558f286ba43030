//! `trenvx bench sim`: the suite runs, and the README has the table of the reference machine.

use std::path::Path;
use std::process::Command;

fn trenvx(arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_trenvx"))
        .current_dir(root)
        .args(["bench", "sim"])
        .args(arguments)
        .output()
        .expect("the command starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a text")
}

#[test]
fn the_quick_suite_measures_every_job_in_a_process_of_its_own_and_judges_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("results.json");
    let kept = kept.to_str().expect("a plain path");
    let text = trenvx(&["--quick", "--keep", kept]);
    let jobs: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("| job"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(jobs.len(), 11, "{text}");
    for job in jobs {
        let cells: Vec<&str> = job.split('|').map(str::trim).collect();
        let number = |column: usize| cells[column].parse::<f64>().unwrap_or(0.0);
        assert!(number(3) >= 1000.0 && number(7) > 0.0 && number(11) > 1.0, "{job}");
    }
    assert_eq!(text.matches("NOT MEASURED").count(), 9, "{text}");
    assert_eq!(trenvx(&["--show", kept]), text);
    // One job anew beside the others.
    let again = trenvx(&["--quick", "--keep", kept, "--only", "long-1m"]);
    assert_eq!(again.lines().count(), text.lines().count());
}

#[test]
fn the_readme_has_what_the_reference_machine_measured() {
    let shown = trenvx(&["--show", "figures/reference/epyc-2-cores/bench-sim.json"]);
    let goals = shown.find("| what").expect("a table of goals");
    let readme = include_str!("../README.md");
    assert!(readme.contains(&shown[goals..]), "put this table into README.md:\n{}", &shown[goals..]);
}
