//! `[[figures]]`: what is drawn from the records.

use crate::experiment::{FigureKind, FigureSpec};
use crate::section::Section;
use crate::suggest;
use crate::values;

/// The figures of an experiment, in its order.
pub(crate) fn figures(root: &Section<'_, '_>, panels: &[String]) -> Vec<FigureSpec> {
    let mut found: Vec<FigureSpec> = Vec::new();
    for section in root.sections("figures") {
        let figure = figure(&section, panels);
        if !figure.name.is_empty() && found.iter().any(|other| other.name == figure.name) {
            section.problem(
                "name",
                format!("two figures are named \"{}\": their files would be the same", figure.name),
            );
        }
        section.finish();
        found.push(figure);
    }
    found
}

fn figure(section: &Section<'_, '_>, panels: &[String]) -> FigureSpec {
    let word = section.get("kind", values::text);
    let kind = FigureKind::ALL.into_iter().find(|kind| kind.name() == word).unwrap_or_else(|| {
        if !word.is_empty() {
            let hint = suggest::hint(&word, FigureKind::ALL.iter().map(|kind| kind.name()));
            section.problem("kind", format!("no figure \"{word}\": {hint}"));
        }
        FigureKind::LatencyPercentiles
    });
    let name = section.get("name", values::text);
    if name.contains(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')) {
        section.problem("name", "it names files: use letters, digits, - and _ only");
    }
    let panel = section.optional("panel", values::text);
    if let Some(panel) = &panel
        && !panels.contains(panel)
    {
        let hint = match panels {
            [] => "this experiment has no panels, leave it out".to_owned(),
            _ => suggest::hint(panel, panels.iter().map(String::as_str)),
        };
        section.problem("panel", format!("no panel \"{panel}\": {hint}"));
    }
    FigureSpec {
        kind,
        name,
        title: section.get("title", values::text),
        paper: section.optional("paper", values::text),
        panel,
        functions: section.list("functions", values::text).into_iter().map(|(name, _)| name).collect(),
    }
}
