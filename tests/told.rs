//! What commands tell their user: lines that work when they are typed, reasons for what is missing, files that do not
//! take each other's place.

mod common;

use common::{House, said, stderr};
use configs::{Measure, Tier};
use runs::{Chart, Environment, MeasuredRow, Measurement};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn configs() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/configs"))
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output)
}

/// A line as a shell runs it, in the house, with `trenvx` on the path.
fn typed(house: &House, line: &str) -> Output {
    let here = Path::new(env!("CARGO_BIN_EXE_trenvx")).parent().expect("a folder").display().to_string();
    Command::new("sh")
        .args(["-c", line])
        .current_dir(house.path("."))
        .env("PATH", format!("{here}:{}", std::env::var("PATH").unwrap_or_default()))
        .env("TRENVX_CONFIGS", configs())
        .output()
        .expect("a shell")
}

/// Puts a folder where the lock of a run belongs, after removing the run: it cannot be made.
fn in_the_way(house: &House, out: &str, is_meant: impl Fn(&str) -> bool) -> std::path::PathBuf {
    let runs = fs::read_dir(house.path(out).join("runs")).expect("a store").flatten();
    let meant = |path: &Path| {
        fs::read_to_string(path.join("manifest.json")).is_ok_and(|manifest| is_meant(&manifest))
    };
    let run = runs.map(|run| run.path()).find(|path| meant(path)).expect("a run");
    fs::remove_dir_all(&run).expect("a run");
    let lock = run.with_extension("lock");
    fs::create_dir(&lock).expect("a folder in its way");
    lock
}

#[test]
fn the_command_in_a_report_makes_that_experiment_again() {
    let house = House::new();
    fs::create_dir(house.path("my files")).expect("a folder");
    fs::rename(house.path("small.toml"), house.path("my files/mine.toml")).expect("a file");
    said(house.trenvx().args(["run", "my files/mine.toml", "--out", "there", "--set", "cluster.cores=3"]));
    let report = output(house.trenvx().args([
        "report",
        "my files/mine.toml",
        "--out",
        "there",
        "--set",
        "cluster.cores=3",
    ]));
    let page = fs::read_to_string(house.path(report.trim())).expect("a report");
    let line = page.lines().find_map(|line| line.strip_prefix("<pre tabindex=\"0\">")).expect("a command");
    let line =
        line.trim_end_matches("</pre>").replace("&#x27;", "'").replace("&#39;", "'").replace("&#x2f;", "/");
    assert!(line.starts_with("trenvx --out there reproduce 'my files/mine.toml'"), "{line}");
    let again = typed(&house, &line);
    assert!(again.status.success(), "{line}: {}", stderr(&again));
    assert!(stderr(&again).contains("2 runs done (0 new, 2 in the store before)"), "{}", stderr(&again));
}

#[test]
fn failed_runs_are_told_with_a_command_for_the_same_folder_and_later_with_their_reason() {
    let house = House::new();
    let reproduce = |house: &House| {
        let mut command = house.trenvx();
        command.args(["reproduce", "e07", "--world", "sim", "--quiet", "--out", "elsewhere"]);
        command
    };
    said(&mut reproduce(&house));
    let lock = in_the_way(&house, "elsewhere", |manifest| {
        manifest.contains("\"label\": \"image-recognition/t-cxl\"") && manifest.contains("\"seed\": 3,")
    });
    let failed = reproduce(&house).output().expect("it starts");
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    let text = stderr(&failed);
    let rerun =
        text.lines().find_map(|line| line.trim().strip_prefix("rerun: ")).expect("a command").to_owned();
    assert!(rerun.starts_with("trenvx --out elsewhere run "), "{rerun}");

    let verdicts = output(house.trenvx().args(["claims", "e07", "--world", "sim", "--out", "elsewhere"]));
    assert!(verdicts.contains("c12 INCONCLUSIVE"), "{verdicts}");
    assert!(verdicts.contains("image-recognition/t-cxl: seed 3 failed: "), "{verdicts}");
    let page = fs::read_to_string(house.path("elsewhere/report-e07.html")).expect("a report");
    assert!(page.contains("image-recognition&#x2f;t-cxl: seed 3 failed: "), "the report says so, too");

    fs::remove_dir(lock).expect("the folder in the way");
    let again = typed(&house, &rerun);
    assert!(again.status.success() && stderr(&again).contains("(1 new, "), "{rerun}: {}", stderr(&again));
    let verdicts = output(house.trenvx().args(["claims", "e07", "--world", "sim", "--out", "elsewhere"]));
    assert!(!verdicts.contains("failed: ") && !verdicts.contains("INCONCLUSIVE"), "{verdicts}");
}

#[test]
fn what_was_never_run_is_told_with_the_command_that_runs_it() {
    let house = House::new();
    let verdicts = output(house.trenvx().args(["claims", "e07", "--out", "none"]));
    assert!(
        verdicts.contains(
            "e07 was not run at tier kick: trenvx --out none reproduce e07 --world sim --tier kick"
        ),
        "{verdicts}"
    );
}

#[test]
fn a_report_of_one_experiment_is_not_that_of_all() {
    let house = House::new();
    said(house.trenvx().args(["run", "e07", "--world", "sim", "--quiet"]));
    let path = |words: &[&str]| output(house.trenvx().args(words)).trim().to_owned();
    assert_eq!(path(&["report"]), "out/report.html");
    let all = fs::read(house.path("out/report.html")).expect("a report");
    assert_eq!(path(&["report", "e07"]), "out/report-e07.html");
    for other in [&["--set", "cluster.cores=3"][..], &["--tier", "short", "--set", "seeds=[1]"]] {
        said(house.trenvx().args(["run", "e07", "--world", "sim", "--quiet"]).args(other));
        let told = path(&[&["report", "e07"], other].concat());
        assert!(told.starts_with("out/report-e07-") && told != "out/report-e07.html", "{told}");
    }
    assert_eq!(fs::read(house.path("out/report.html")).expect("a report"), all);
}

#[test]
fn a_dry_run_goes_by_runs_of_its_own_world() {
    let house = House::new();
    let text = fs::read_to_string(house.path("small.toml")).expect("an experiment");
    let text =
        text.replace("systems = [\"criu\", \"t-cxl\"]", "worlds = [\"sim\", \"emu\"]\nsystems = [\"t-cxl\"]");
    fs::write(house.path("small.toml"), text).expect("an experiment");
    said(house.trenvx().args(["run", "small.toml", "--quiet"]));
    let planned = |world: &str| {
        let functions = concat!(env!("CARGO_MANIFEST_DIR"), "/emu/functions");
        let mut command = house.trenvx();
        command.args(["run", "small.toml", "--dry-run", "--world", world]).env("TRENVX_FUNCTIONS", functions);
        output(&mut command)
    };
    let simulated = planned("sim");
    assert!(simulated.contains("1 runs: 1 in the store, 0 to run"), "{simulated}");
    let real = planned("emu");
    assert!(real.contains("1 runs: 0 in the store, 1 to run") && real.contains("no earlier run"), "{real}");
}

#[test]
fn an_unknown_point_suggests_the_nearest_and_lists_few() {
    let house = House::new();
    let numbers = (1..=200).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let of = |point: &str| {
        let axis = format!("cluster.cores=[{numbers}]");
        let output = house.sweep("out", &["--sweep", &axis, "--point", point]).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2));
        stderr(&output)
    };
    assert!(
        of("cluster.cores=17/crui").contains("did you mean \"cluster.cores=17/criu\"?"),
        "a slip of the finger"
    );
    assert!(
        of("criu/cluster.cores=17").contains("did you mean \"cluster.cores=17/criu\"?"),
        "the other way round"
    );
    let strange = of("something else entirely");
    assert!(strange.contains("and 388 more") && strange.len() < 600, "{strange}");
}

#[test]
fn values_in_force_are_shown_with_where_they_were_set() {
    let house = House::new();
    for subcommand in ["run", "sweep"] {
        let shown = output(house.trenvx().args([
            subcommand,
            "small.toml",
            "--show-config",
            "--set",
            "cluster.cores=3",
        ]));
        let line = |key: &str| {
            let start = format!("{key} = ");
            shown.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {key}: {shown}"))
        };
        assert!(
            line("cluster.cores").starts_with("cluster.cores = 3") && line("cluster.cores").contains("--set")
        );
        assert!(line("cluster.nodes").contains("base.toml:"), "{}", line("cluster.nodes"));
        assert!(line("workload.zipf.functions").contains("small.toml:"));
        assert!(!house.path("out/runs").exists(), "nothing is run");
    }
}

/// What e03 might have measured here.
fn measured(out: &Path, share: f64) {
    let experiment = configs::load(&configs().join("experiments/e03-page-groups.toml"), Tier::Kick, &[]);
    let experiment = experiment.expect("an experiment");
    let row = |subject: &str, share| MeasuredRow {
        subject: subject.into(),
        metric: "read-only share".into(),
        unit: "%".into(),
        n: 1,
        median: Some(share),
        ..MeasuredRow::default()
    };
    let measurement = Measurement {
        experiment: "e03".into(),
        tier: Tier::Kick,
        measure: Measure::PageGroups { functions: Vec::new() },
        version: 1,
        environment: Environment::default(),
        command: Vec::new(),
        started_unix_s: 0,
        wall_s: 1.0,
        warnings: Vec::new(),
        wrong: Vec::new(),
        stand_ins: vec!["an invented machine".into()],
        facilities: Default::default(),
        made_with: Default::default(),
        charts: vec![Chart::wholes("read-only-share", "Touched pages", "read-only share", "%")],
        rows: vec![row("crypto", share), row("chameleon", 50.0)],
    };
    measurement.save(out, &experiment).expect("a file");
}

#[test]
fn a_measurement_is_drawn_judged_and_reported() {
    let house = House::new();
    let figure = |house: &House| output(house.trenvx().args(["figure", "e03"]));
    let none = figure(&house);
    assert!(
        none.contains("e03: nothing was run at tier kick: trenvx run e03 --world emu --tier kick"),
        "{none}"
    );
    measured(&house.path("out"), 75.0);
    let drawn = figure(&house);
    assert_eq!(drawn.trim(), "out/figures/e03-kick-emu/read-only-share.svg");
    let claims = |house: &House| output(house.trenvx().args(["claims", "e03"]));
    let verdict = claims(&house);
    assert!(verdict.contains("c50 PASS") && verdict.contains("stand-in: an invented machine"), "{verdict}");
    measured(&house.path("out"), 95.0);
    assert!(claims(&house).contains("c50 FAIL"), "{}", claims(&house));
    output(house.trenvx().args(["report", "e03"]));
    let page = fs::read_to_string(house.path("out/report-e03.html")).expect("a report");
    for part in ["an invented machine", "id=\"degraded\"", "trenvx run e03 --world emu --tier kick"] {
        assert!(page.contains(part), "no {part}");
    }
}

#[test]
fn a_measurement_that_failed_says_why_until_it_is_made() {
    let house = House::new();
    let experiment = configs::load(&configs().join("experiments/e03-page-groups.toml"), Tier::Kick, &[]);
    let experiment = experiment.expect("an experiment");
    Measurement::note_failure(&house.path("out"), &experiment, "the kernel refused").expect("a note");
    let claims = |house: &House| output(house.trenvx().args(["claims", "e03"]));
    assert!(
        claims(&house).contains("e03 was not measured: it failed: the kernel refused"),
        "{}",
        claims(&house)
    );
    measured(&house.path("out"), 75.0);
    assert!(claims(&house).contains("c50 PASS"));
}
