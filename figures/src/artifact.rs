//! Tables of the artifact appendix, made from the claims and from what a reference machine measured, so
//! that text and check cannot differ.

use crate::claims::{Claim, Expectation, Judged, Verdict};
use crate::reference::{Cost, Reference};
use std::fmt::Write;

/// Where generated text begins in a document; the name of the table follows.
const BEGIN: &str = "<!-- generated: ";
/// Where it ends.
const END: &str = "<!-- end of generated text -->";

/// The claims: what is expected, how it may differ, which command decides.
pub fn claims_table(claims: &[Claim]) -> String {
    let mut out = String::from(
        "| Claim | Paper | Published | Expected | Tolerance (kind) | Command |\n|---|---|---|---|---|---|\n",
    );
    for claim in claims {
        let judged = Judged {
            claim: claim.clone(),
            verdict: Verdict::NotRun { reason: String::new() },
            measured: Vec::new(),
            stand_ins: Vec::new(),
        };
        let (expected, tolerance, command) = match &claim.not_run {
            Some(reason) => (String::new(), format!("NOT-RUN: {reason}"), "–".to_owned()),
            None => (
                match &claim.expectation {
                    Expectation::Ordering { .. } if claim.measured.is_none() => {
                        format!("rises: {}", judged.bound())
                    }
                    _ => judged.bound(),
                },
                claim.tolerance().name().to_owned(),
                format!("`trenvx reproduce {} --tier {}`", claim.id, claim.tier.name()),
            ),
        };
        let published = judged.published();
        let cells = [
            format!("**{}** {}", claim.id, claim.text),
            claim.origin().to_owned(),
            published,
            expected,
            tolerance,
            command,
        ];
        line(&mut out, &cells);
    }
    out
}

/// An experiment of the appendix.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Short name.
    pub id: String,
    /// Title.
    pub title: String,
    /// Figure or table of the paper.
    pub paper: Option<String>,
}

/// The experiments with what they cost on a reference machine: `[human-minutes + compute + disk]`.
pub fn experiments_table(experiments: &[Listed], claims: &[Claim], reference: Option<&Reference>) -> String {
    let mut out = String::from(
        "| Experiment | Paper | Claims | Command | Simulating: kick | short | full | Memory | Disk | Measuring: kick | short |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for experiment in experiments {
        let about: Vec<&str> = claims
            .iter()
            .filter(|claim| claim.experiment == experiment.id)
            .map(|claim| claim.id.as_str())
            .collect();
        let cost = |world: &str, tier: &str| {
            let of = |cost: &&Cost| {
                (&*cost.experiment, &*cost.world, &*cost.tier) == (&experiment.id, world, tier)
            };
            reference.and_then(|reference| reference.costs.iter().find(of))
        };
        let simulating = |tier| {
            cost("sim", tier).map_or_else(unknown, |cost| {
                let runs = if cost.runs == 1 { "run" } else { "runs" };
                format!("{}, {} {runs}", seconds(cost.wall_s), cost.runs)
            })
        };
        let measuring = |tier| cost("emu", tier).map_or_else(unknown, |cost| seconds(cost.wall_s));
        let mib = |of: fn(&Cost) -> f64| {
            cost("sim", "kick").map_or_else(unknown, |cost| format!("{} MiB", crate::files::number(of(cost))))
        };
        line(
            &mut out,
            &[
                format!("**{}** {}", experiment.id, experiment.title),
                experiment.paper.clone().unwrap_or_else(|| "beyond".to_owned()),
                range(&about),
                format!("`trenvx reproduce {}`", experiment.id),
                simulating("kick"),
                simulating("short"),
                simulating("full"),
                mib(|cost| cost.peak_rss_mib),
                mib(|cost| cost.disk_mib),
                measuring("kick"),
                measuring("short"),
            ],
        );
    }
    if let Some(reference) = reference {
        let of = |field: &str| reference.machine.get(field).map_or("unknown", String::as_str);
        let _ = writeln!(
            out,
            "\nMeasured by the tool on {} ({}, {} cores, Linux {}). Simulating: the sum over the runs one after the \
             other; memory of the whole process and disk at tier kick. Measuring: the real side, as a whole. –: there is \
             no such side, or nobody measured it there. No experiment needs a person but to start it.",
            reference.name,
            of("cpu model"),
            of("cores"),
            of("kernel")
        );
    }
    out
}

fn unknown() -> String {
    "–".to_owned()
}

/// A time to plan by: tenths of seconds below ten, then seconds, then minutes.
fn seconds(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        ..120.0 => format!("{seconds:.0} s"),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

/// `c17–c46` where names follow each other.
fn range(ids: &[&str]) -> String {
    let number = |id: &str| {
        let digits = id.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let kind = id.len() - digits.len();
        Some((id.get(..kind)?.to_owned(), digits.parse::<u32>().ok()?))
    };
    let mut parts: Vec<(String, String)> = Vec::new();
    for id in ids {
        match parts.last_mut() {
            Some((_, last)) if number(last).is_some_and(|(kind, n)| number(id) == Some((kind, n + 1))) => {
                (*id).clone_into(last);
            }
            _ => parts.push(((*id).to_owned(), (*id).to_owned())),
        }
    }
    let written =
        parts.into_iter().map(|(first, last)| if first == last { first } else { format!("{first}–{last}") });
    let written: Vec<String> = written.collect();
    if written.is_empty() { "–".to_owned() } else { written.join(", ") }
}

fn line(out: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// A document with the text between the markers of `name` replaced; `None` if it has no such markers.
pub fn between_markers(document: &str, name: &str, text: &str) -> Option<String> {
    let begin = format!("{BEGIN}{name} -->\n");
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{begin}\n{}\n\n{END}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let document = "a\n<!-- generated: claims -->\nold\n<!-- end of generated text -->\nb\n";
        let new = between_markers(document, "claims", "| new |\n").unwrap();
        assert_eq!(new, "a\n<!-- generated: claims -->\n\n| new |\n\n<!-- end of generated text -->\nb\n");
        assert_eq!(
            between_markers(&new, "claims", "| new |").as_deref(),
            Some(new.as_str()),
            "a second time changes nothing"
        );
        assert_eq!(between_markers(document, "times", "x"), None);
    }

    #[test]
    fn names_that_follow_each_other_are_a_range() {
        assert_eq!(range(&["c01", "c03", "c04", "c05"]), "c01, c03–c05");
        assert_eq!(range(&["c04", "g05"]), "c04, g05", "goals are counted on their own");
        assert_eq!(range(&[]), "–");
    }
}
