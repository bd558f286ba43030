//! Slurm's commands: what they are asked, and what their answers mean.

use super::super::ExecutorError;
use crate::progress::Progress;
use std::process::Command;

/// One line of the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Task {
    state: String,
    reason: String,
}

impl Task {
    /// Why it does not run; `None` if it runs or merely waits for its turn.
    pub fn why(&self) -> Option<&str> {
        let usual = ["None", "Resources", "Priority", ""];
        (self.state == "PENDING" && !usual.contains(&self.reason.as_str())).then_some(self.reason.as_str())
    }
}

/// What the queue says of a job's tasks; none once it has left the queue.
pub(super) fn queue(job: &str) -> Result<Vec<Task>, ExecutorError> {
    let mut command = Command::new("squeue");
    command.args(["--noheader", "--array", "--jobs", job, "--format=%T %r"]);
    match ask(command) {
        Ok(answer) => Ok(tasks(&answer)),
        // Jobs are forgotten some minutes after their end.
        Err(ExecutorError::Refused { what, .. }) if what.contains("Invalid job id") => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn tasks(answer: &str) -> Vec<Task> {
    let lines = answer.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (state, reason) = line.split_once(' ').unwrap_or((line, ""));
            Task { state: state.to_owned(), reason: reason.trim().to_owned() }
        })
        .collect()
}

/// Says how tasks ended, where accounting knows.
pub(super) fn explain(job: &str, progress: &Progress) {
    let mut command = Command::new("sacct");
    command.args(["--noheader", "--parsable2", "--allocations", "--jobs", job]);
    command.arg("--format=JobID,State,ExitCode,NodeList");
    // Most clusters have accounting; without it, log files tell as much.
    let Ok(answer) = ask(command) else { return };
    for line in answer.lines().filter(|line| !line.contains("|COMPLETED|")) {
        progress.say(&format!("Slurm: {}", line.replace('|', " ")));
    }
}

/// The cluster's limit on array indices; `None` where it does not tell.
pub(super) fn max_array_size() -> Option<u32> {
    let mut command = Command::new("scontrol");
    command.args(["show", "config"]);
    limit(&ask(command).ok()?)
}

fn limit(config: &str) -> Option<u32> {
    let line = config.lines().find_map(|line| line.trim().strip_prefix("MaxArraySize"))?;
    line.trim().strip_prefix('=')?.trim().parse().ok()
}

/// `1-3,7`, as `--array` reads it.
pub(super) fn ranges(numbers: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let written = parts.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    written.collect::<Vec<_>>().join(",")
}

/// Runs a command of Slurm's; its output, or what it complained about.
pub(super) fn ask(mut command: Command) -> Result<String, ExecutorError> {
    let name = || {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    };
    let name = name();
    let refused = |what: String| ExecutorError::Refused { command: name.clone(), what };
    let output = command.output().map_err(|error| refused(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(refused(if said.is_empty() { output.status.to_string() } else { said }))
}

pub(super) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_written_as_ranges() {
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), "1-3,7,9-10");
        assert_eq!(ranges(&[4]), "4");
    }

    #[test]
    fn the_limit_of_arrays_is_one_line_of_the_configuration() {
        let config =
            "Configuration data as of 2026\nMaxArraySize            = 1001\nMaxBatchRequeue         = 5\n";
        assert_eq!(limit(config), Some(1001));
        assert_eq!(limit("MaxDBDMsgs = 20024"), None);
    }

    #[test]
    fn a_task_that_merely_waits_for_its_turn_needs_no_line() {
        let found = tasks("RUNNING None\n PENDING Priority\nPENDING ReqNodeNotAvail, UnavailableNodes:n2\n");
        let why: Vec<Option<&str>> = found.iter().map(Task::why).collect();
        assert_eq!(why, [None, None, Some("ReqNodeNotAvail, UnavailableNodes:n2")]);
        assert_eq!(tasks("\n"), []);
    }
}
