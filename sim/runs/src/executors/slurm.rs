//! [`Slurm`]: an array of shards, submitted, followed and merged.
//!
//! Everything rests on the plain contract of shards: each array task runs the command that a person
//! could type, `trenvx sweep … --shard i/n`, against the one shared folder. So a task that is killed,
//! requeued or started twice costs time and nothing else. This process submits the shards that lack
//! runs, watches the queue until the array has left it, and submits again what is still missing. If it
//! is killed itself, the array goes on; the same command, typed again, follows it.
//!
//! Only `sbatch` and `squeue` are needed; where accounting is on, `sacct` tells why tasks ended.

mod commands;

use super::{Executor, ExecutorError};
use crate::error::StoreError;
use crate::execute::Outcome;
use crate::index::{save_json, stem};
use crate::plan::{Plan, quoted};
use crate::progress::{Ended, Progress};
use crate::shard::{Shard, ShardReport, deal};
use crate::store::Store;
use crate::survey::{Survey, merge, survey};
use crate::world::World;
use commands::{ask, explain, max_array_size, on_path, queue, ranges};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Questions to the queue that may fail one after the other: the controller may be starting anew.
const UNANSWERED: u32 = 60;

/// A shared file system may show the last runs of an array late.
const SETTLE: Duration = Duration::from_secs(10);

const ADVICE: &str = "run this where Slurm's commands are installed, or leave out --executor slurm";

/// An array of shards on a Slurm cluster.
#[derive(Clone, Debug)]
pub struct Slurm {
    /// The words of the command of a task, without `--shard`; the program and all paths absolute.
    pub command: Vec<String>,
    /// Shards, at least 1; never more than there are runs to make.
    pub shards: u32,
    /// Whether tasks take any run that nobody is at, instead of their own shard's alone.
    pub workers: bool,
    /// Processors, and runs at a time, of a task.
    pub jobs: usize,
    /// Options for `sbatch`, such as `--partition=short`.
    pub options: Vec<String>,
    /// Times that what is missing is submitted again.
    pub retries: u32,
    /// Time between two looks at the queue.
    pub poll: Duration,
    /// Whether progress is shown on standard error.
    pub progress: bool,
}

/// A submitted array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Array {
    job: String,
    shards: u32,
}

/// The files of one sweep under `out/slurm`.
struct Folder(PathBuf);

impl Executor for Slurm {
    fn execute(
        &self,
        plan: &Plan,
        out: &Path,
        store: &Store,
        world: &dyn World,
    ) -> Result<Outcome, ExecutorError> {
        for program in ["sbatch", "squeue"] {
            if !on_path(program) {
                return Err(ExecutorError::NoProgram { program, advice: ADVICE });
            }
        }
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let mut survey = survey(plan, store, world, threads);
        let folder = Folder::new(out, plan, world)?;
        let before: Vec<bool> = survey.runs.iter().map(|run| run.is_done).collect();
        let progress = Progress::new(&plan.experiment.id, plan.jobs.len(), self.progress);
        for run in &survey.runs {
            if run.is_done {
                progress.ended(Ended::Cached);
            }
        }
        // An earlier command of this kind may have been killed: its array is followed first.
        if let Some(array) = folder.submitted() {
            progress.say(&format!("Slurm job {} was submitted before: following it", array.job));
            self.follow(&array, &mut survey, store, &progress)?;
            folder.forget();
            self.settle(&mut survey, store, &progress);
        }
        let mut attempt = 0;
        while attempt <= self.retries && survey.missing().next().is_some() {
            let count = self.count(&survey);
            fits(count)?;
            let waiting = waiting(plan, &survey, &ShardReport::all(out, plan, world.name()), attempt);
            let mut lacking = self.lacking(plan, &survey, count, &waiting);
            if lacking.is_empty() {
                break;
            }
            if self.workers {
                // Workers take whatever is left: so many as there is work for.
                lacking = Shard::all(count.min(waiting.len() as u32)).collect();
            }
            ShardReport::clear(out, plan, world.name())?;
            let array = self.submit(&folder, plan, count, &lacking)?;
            let tasks = lacking.len();
            progress.say(&format!(
                "Slurm job {}: {tasks} tasks, log files in {}",
                array.job,
                folder.logs().display()
            ));
            self.follow(&array, &mut survey, store, &progress)?;
            folder.forget();
            self.settle(&mut survey, store, &progress);
            if survey.missing().next().is_some() {
                explain(&array.job, &progress);
            }
            attempt += 1;
        }
        drop(progress);
        let mut outcome = merge(plan, out, store, world, &survey)?;
        let cached = survey.runs.iter().zip(before).filter(|(run, _)| run.is_done).map(|(_, before)| before);
        outcome.done.iter_mut().zip(cached).for_each(|(done, cached)| done.cached = cached);
        Ok(outcome)
    }
}

/// Refuses more shards than the cluster takes, before it does so in words of its own. What it does not tell is left
/// to `sbatch`.
fn fits(shards: u32) -> Result<(), ExecutorError> {
    match max_array_size() {
        // Indices are counted from 0 and stay below the limit; shards are counted from 1.
        Some(size) if shards >= size => {
            Err(ExecutorError::TooManyShards { shards, size, most: size.saturating_sub(1) })
        }
        _ => Ok(()),
    }
}

/// Jobs (as positions in the plan) that are worth another attempt: those that are missing and have not
/// failed by themselves. The first attempt tries everything.
fn waiting(plan: &Plan, survey: &Survey, reports: &[ShardReport], attempt: u32) -> BTreeSet<usize> {
    let failed: BTreeSet<(&str, u64)> = match attempt {
        0 => BTreeSet::new(),
        _ => reports.iter().flat_map(|r| &r.failed).map(|f| (f.label.as_str(), f.seed)).collect(),
    };
    let missing = survey.runs.iter().enumerate().filter(|(_, run)| !run.is_done && run.key.is_ok());
    missing
        .filter(|(_, run)| !failed.contains(&(plan.point(run.job).label.as_str(), run.job.seed)))
        .map(|(number, _)| number)
        .collect()
}

impl Slurm {
    fn count(&self, survey: &Survey) -> u32 {
        self.shards.clamp(1, u32::try_from(survey.runs.len()).unwrap_or(u32::MAX).max(1))
    }

    /// The shards that have something left to do.
    fn lacking(&self, plan: &Plan, survey: &Survey, count: u32, waiting: &BTreeSet<usize>) -> Vec<Shard> {
        debug_assert_eq!(plan.jobs.len(), survey.runs.len());
        let dealt = deal(plan, count);
        let numbers: BTreeSet<u32> = waiting.iter().map(|&number| dealt[number]).collect();
        numbers.into_iter().filter_map(|number| Shard::new(number, count)).collect()
    }

    /// Writes the script and submits it.
    fn submit(
        &self,
        folder: &Folder,
        plan: &Plan,
        count: u32,
        shards: &[Shard],
    ) -> Result<Array, ExecutorError> {
        let script = folder.0.join("sweep.sbatch");
        fs::write(&script, self.script(folder, &plan.experiment.id, count))
            .map_err(StoreError::io(&script, "writing"))?;
        let numbers: Vec<u32> = shards.iter().map(|shard| shard.number()).collect();
        let mut command = Command::new("sbatch");
        command.arg("--parsable").arg(format!("--array={}", ranges(&numbers))).arg(&script);
        let answer = ask(command)?;
        // "job" or "job;cluster".
        let job = answer.trim().split(';').next().unwrap_or_default().to_owned();
        if job.is_empty() || !job.chars().all(|c| c.is_ascii_digit()) {
            let what = format!("answered {:?} instead of a job number", answer.trim());
            return Err(ExecutorError::Refused { command: "sbatch --parsable".into(), what });
        }
        let array = Array { job, shards: count };
        save_json(&folder.array(), &array)?;
        Ok(array)
    }

    fn script(&self, folder: &Folder, id: &str, count: u32) -> String {
        let mut script = format!(
            "#!/bin/sh\n\
             #SBATCH --job-name=trenvx-{id}\n\
             #SBATCH --output=\"{}/%A_%a.txt\"\n\
             #SBATCH --open-mode=append\n\
             #SBATCH --ntasks=1\n\
             #SBATCH --cpus-per-task={}\n\
             #SBATCH --requeue\n",
            folder.logs().display().to_string().replace('%', "%%"),
            self.jobs
        );
        for option in &self.options {
            script.push_str(&format!("#SBATCH {option}\n"));
        }
        let command: Vec<String> = self.command.iter().map(|word| quoted(word)).collect();
        let part = if self.workers {
            "--worker".to_owned()
        } else {
            format!("--shard \"$SLURM_ARRAY_TASK_ID/{count}\"")
        };
        script.push_str(&format!("exec {} --jobs {} {part}\n", command.join(" "), self.jobs));
        script
    }

    /// Watches an array until it has left the queue.
    fn follow(
        &self,
        array: &Array,
        survey: &mut Survey,
        store: &Store,
        progress: &Progress,
    ) -> Result<(), ExecutorError> {
        let mut unanswered = 0;
        let mut told = String::new();
        loop {
            match queue(&array.job) {
                Ok(states) if states.is_empty() => return Ok(()),
                Ok(states) => {
                    unanswered = 0;
                    // What keeps tasks waiting is worth a line whenever it changes.
                    let reasons: BTreeSet<&str> = states.iter().filter_map(|state| state.why()).collect();
                    let now = reasons.into_iter().collect::<Vec<_>>().join(", ");
                    if now != told && !now.is_empty() {
                        progress.say(&format!("Slurm job {}: waiting: {now}", array.job));
                    }
                    told = now;
                }
                Err(error) => {
                    unanswered += 1;
                    if unanswered > UNANSWERED {
                        return Err(error);
                    }
                }
            }
            advance(survey, store, progress);
            std::thread::sleep(self.poll);
        }
    }

    /// Gives the last runs time to be seen.
    fn settle(&self, survey: &mut Survey, store: &Store, progress: &Progress) {
        let began = Instant::now();
        loop {
            advance(survey, store, progress);
            // Runs that failed will not come: only a shared file system is waited for.
            if survey.missing().next().is_none() || began.elapsed() >= SETTLE.min(self.poll * 2) {
                return;
            }
            std::thread::sleep(self.poll.min(Duration::from_secs(1)));
        }
    }
}

/// Looks at what has been done meanwhile.
fn advance(survey: &mut Survey, store: &Store, progress: &Progress) {
    let before = survey.missing().count();
    survey.look_again(store);
    for _ in survey.missing().count()..before {
        progress.ended(Ended::New);
    }
}

impl Folder {
    fn new(out: &Path, plan: &Plan, world: &dyn World) -> Result<Self, StoreError> {
        let folder = out.join("slurm").join(stem(&plan.experiment, world.name()));
        // Tasks start in folders of their own choice.
        let folder = std::path::absolute(&folder).map_err(StoreError::io(&folder, "finding"))?;
        let logs = folder.join("logs");
        fs::create_dir_all(&logs).map_err(StoreError::io(&logs, "creating"))?;
        Ok(Self(folder))
    }

    fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    fn array(&self) -> PathBuf {
        self.0.join("submitted.json")
    }

    /// The array of a command that did not come to its end.
    fn submitted(&self) -> Option<Array> {
        serde_json::from_str(&fs::read_to_string(self.array()).ok()?).ok()
    }

    fn forget(&self) {
        // If this fails, the next command asks the queue for a job that has left it.
        let _ = fs::remove_file(self.array());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_the_command_of_a_shard() {
        let slurm = Slurm {
            command: ["/usr/bin/trenvx", "sweep", "/a b/e04.toml"].map(str::to_owned).to_vec(),
            shards: 4,
            workers: false,
            jobs: 2,
            options: vec!["--partition=short".into()],
            retries: 2,
            poll: Duration::from_secs(1),
            progress: false,
        };
        let folder = Folder(PathBuf::from("/out/slurm/e04"));
        let script = slurm.script(&folder, "e04", 4);
        assert!(script.starts_with(
            "#!/bin/sh\n#SBATCH --job-name=trenvx-e04\n#SBATCH --output=\"/out/slurm/e04/logs/%A_%a.txt\"\n"
        ));
        assert!(script.contains("#SBATCH --partition=short\n"));
        let last = "exec /usr/bin/trenvx sweep '/a b/e04.toml' --jobs 2 --shard \"$SLURM_ARRAY_TASK_ID/4\"\n";
        assert!(script.ends_with(last), "{script}");
        let workers = Slurm { workers: true, ..slurm }.script(&folder, "e04", 4);
        assert!(workers.ends_with(" --jobs 2 --worker\n"), "{workers}");
    }
}
