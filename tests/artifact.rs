//! The artifact appendix: its tables are those that the tool makes, and its commands and README's do what
//! they are said to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// At the end of a line of a command block: the test runs it.
const MARK: &str = "# runs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Lines of the shell blocks of a document, without comments, and whether they are marked.
fn commands(document: &str) -> Vec<(String, bool)> {
    let text = fs::read_to_string(root().join(document)).expect("a document");
    let mut found = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside && !line.trim().is_empty() => {
                let command = line.split(" #").next().unwrap_or(line).trim();
                found.push((command.to_owned(), line.trim_end().ends_with(MARK)));
            }
            _ => {}
        }
    }
    found
}

/// A folder to run commands in as they are written, with `trenvx` on the path.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        fs::create_dir(place.path("bin")).expect("a folder");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_trenvx"), place.path("bin/trenvx")).expect("a link");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, command: &str) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new("sh")
            .args(["-ec", command])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("TRENVX_CONFIGS", root().join("configs"))
            .output()
            .expect("a shell")
    }

    fn succeeds(&self, command: &str) -> String {
        let output = self.run(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned() + &said
    }
}

#[test]
fn the_tables_are_those_that_the_tool_makes() {
    let output = Command::new(env!("CARGO_BIN_EXE_trenvx"))
        .args(["artifact", "--check"])
        .current_dir(root())
        .output()
        .expect("the command starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_appendix_has_every_section_and_every_claim() {
    let text = fs::read_to_string(root().join("paper-artifact.md")).expect("the appendix");
    for section in [
        "Abstract",
        "Security",
        "How to access",
        "Hardware dependencies",
        "Software dependencies",
        "data",
        "basic test",
        "Major claims",
        "Experiments",
        "Limitations",
        "Customisation",
        "Version",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with("## ") && line.contains(section)),
            "no section {section}"
        );
    }
    for claim in configs::claims::load(&root().join("configs")).expect("claims") {
        assert!(
            text.contains(&format!("| **{}** {}", claim.id, claim.text)),
            "{} is not in the table",
            claim.id
        );
    }
    let model = format!("model version {}", sim::MODEL_VERSION);
    assert_eq!(
        text.matches("model version ").count(),
        text.matches(&model).count(),
        "it speaks of another {model}"
    );
}

#[test]
fn marked_commands_of_the_appendix_run_in_their_order() {
    let place = Place::new();
    let mut ran = 0;
    for (command, _) in commands("paper-artifact.md").into_iter().filter(|(_, marked)| *marked) {
        let said = place.succeeds(&command);
        assert!(!said.trim().is_empty() || command.contains("--check"), "{command} says nothing");
        ran += 1;
    }
    assert!(ran >= 12, "only {ran} commands are marked");
    assert!(place.path("out/report-e07.html").is_file());
    // What section 7 promises.
    let summary = fs::read_to_string(place.path("out/figures/e07-kick/summary.csv")).expect("a summary");
    let peak = |panel: &str, system: &str| -> f64 {
        let start = format!("e07,{panel}/{system},{panel},{system},all,local,peak,GiB,");
        let row = summary.lines().find(|row| row.starts_with(&start)).unwrap_or_else(|| panic!("no {start}"));
        row[start.len()..].split(',').next().and_then(|value| value.parse().ok()).expect("a number")
    };
    for panel in ["image-recognition", "image-flip-rotate"] {
        assert!(peak(panel, "t-cxl") < peak(panel, "criu"), "{panel}");
    }
}

#[test]
fn every_command_exists_and_takes_its_options() {
    let place = Place::new();
    for document in ["paper-artifact.md", "README.md"] {
        let mut checked = 0;
        for (command, _) in commands(document) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let first = words[0].trim_start_matches("./");
            if first.starts_with("scripts/") {
                assert!(root().join(first).is_file(), "{document}: no {first}");
                let help = fs::read_to_string(root().join(first)).expect("a script");
                for option in words.iter().filter(|word| word.starts_with("--")) {
                    assert!(help.contains(*option), "{document}: {command}: no {option}");
                }
            } else if first == "trenvx" {
                options_exist(&place, &words, &format!("{document}: {command}"));
            }
            checked += 1;
        }
        assert!(checked > 10, "{document}: only {checked} commands");
    }
}

/// Walks down the subcommands as far as there are any and looks for the options in the help.
fn options_exist(place: &Place, words: &[&str], what: &str) {
    let mut path = vec!["trenvx"];
    let mut help = place.succeeds("trenvx --help");
    for word in words[1..].iter().take_while(|word| !word.starts_with('-')) {
        let listed = help.split("Commands:").nth(1).unwrap_or("");
        if !listed.lines().any(|line| line.starts_with(&format!("  {word} ")) || line.trim() == *word) {
            break;
        }
        path.push(word);
        help = place.succeeds(&format!("{} --help", path.join(" ")));
    }
    assert!(path.len() > 1, "{what}: no such command");
    for option in words.iter().filter(|word| word.starts_with("--")) {
        let name = option.split('=').next().unwrap_or(option);
        assert!(help.contains(name), "{what}: no {name}");
    }
}

/// Why the test does not run a command of README; `None` for those that it runs as they stand there.
fn too_large(command: &str) -> Option<&'static str> {
    let is = |word: &str| command.contains(word);
    if !command.starts_with("trenvx ") || is("trenvx emu ") {
        return Some("it sets up the machine, or needs root and what only some machines have");
    }
    if is("--world emu") || is("trenvx validate") {
        return Some("real sandboxes need root and take minutes");
    }
    is("--tier full").then_some("millions of invocations take minutes in a build for tests")
}

#[test]
fn commands_of_readme_run_as_they_stand_there() {
    let place = Place::new();
    let mut ran = 0;
    for (command, _) in commands("README.md") {
        match too_large(&command) {
            Some(why) => eprintln!("not run: {command}: {why}"),
            None => {
                place.succeeds(&command);
                ran += 1;
            }
        }
    }
    assert!(ran >= 10, "only {ran} commands of README are run");
    // They did what is said beside them.
    for made in
        ["out/figures/e04-kick/latency-percentiles.svg", "out/figures/e04-kick/latency-percentiles.png"]
    {
        assert!(place.path(made).is_file(), "no {made}");
    }
    assert!(place.path("out/report-e04.html").is_file(), "the report of a claim's experiment");
}
