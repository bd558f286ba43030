//! What is written in more than one place says the same everywhere.

use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a file of the repository")
}

#[test]
fn the_citation_names_this_version() {
    let citation = read("CITATION.cff");
    let version = citation.lines().find_map(|line| line.strip_prefix("version: ")).expect("a version");
    assert_eq!(version.trim_matches('"'), env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_code_map_of_readme_names_folders_and_packages_that_exist() {
    let readme = read("README.md");
    let rows: Vec<Vec<&str>> = readme
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    assert!(rows.len() >= 8, "the code map has {} rows", rows.len());
    for row in rows {
        let (folder, package) = (row[1], row[2]);
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).is_dir(), "README: no folder {folder}");
        if !package.is_empty() && folder != "src/" {
            let manifest = read(&format!("{folder}Cargo.toml"));
            assert!(
                manifest.contains(&format!("name = \"{package}\"")),
                "README: {folder} is not package {package}"
            );
        }
    }
}

#[test]
fn every_command_of_readme_is_known() {
    let readme = read("README.md");
    let mut commands = 0;
    for line in readme.lines().filter(|line| line.starts_with("trenvx ")) {
        let words: Vec<&str> =
            line.split_whitespace().skip(1).take_while(|word| !word.starts_with('#')).collect();
        // Behind `--` stands another command; an experiment is no subcommand.
        let words: Vec<&str> = words.into_iter().take_while(|word| *word != "--").collect();
        let experiment =
            |word: &str| word.starts_with('e') && word[1..].starts_with(|c: char| c.is_ascii_digit());
        let subcommands =
            words.iter().take_while(|word| !word.starts_with('-') && !experiment(word)).copied();
        let help = std::process::Command::new(env!("CARGO_BIN_EXE_trenvx"))
            .args(subcommands)
            .arg("--help")
            .output()
            .expect("the command starts");
        assert!(help.status.success(), "README: {line}");
        let known = String::from_utf8_lossy(&help.stdout);
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(known.contains(*option), "README: {line}: no {option}");
        }
        commands += 1;
    }
    assert!(commands >= 5, "only {commands} commands found");
}
