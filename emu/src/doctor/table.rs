//! The report for people: aligned columns, long texts wrapped.

use std::fmt;

use super::report::{Check, Report, Status};

/// Width of the table where nobody says otherwise.
const WIDTH: usize = 110;
/// The status words fit into it.
const STATUS_WIDTH: usize = 8;
/// What a facility is needed for is wrapped at this width.
const NEED_WIDTH: usize = 26;
const GAP: &str = "  ";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_table(WIDTH))
    }
}

impl Report {
    /// The report as text, at most `width` columns wide where its words allow it.
    #[must_use]
    pub fn to_table(&self, width: usize) -> String {
        let names = self.checks.iter().map(|check| check.facility.len());
        let name_width = names.max().unwrap_or(0);
        let taken = STATUS_WIDTH + name_width + NEED_WIDTH + 3 * GAP.len();
        let detail_width = width.saturating_sub(taken).max(24);
        let widths = [STATUS_WIDTH, name_width, detail_width, NEED_WIDTH];

        let mut text = self.machine_text();
        let mut group = None;
        for check in &self.checks {
            if group != Some(check.group) {
                group = Some(check.group);
                text.push_str(&format!("\n{}\n", check.group.title()));
            }
            text.push_str(&row(check, widths));
        }
        let [ok, degraded, missing] = self.counts();
        text.push_str(&format!("\n{ok} OK, {degraded} degraded, {missing} missing\n"));
        text
    }

    fn machine_text(&self) -> String {
        let machine = &self.machine;
        let mut system = vec![machine.os.clone(), format!("Linux {}", machine.kernel)];
        system.extend(machine.kernel_options.iter().cloned());
        let mut lines = vec![
            (
                "processor",
                format!("{} ({}), {} cores", machine.cpu_model, machine.architecture, machine.cores),
            ),
            ("memory", format!("{:.1} GiB, {} NUMA node(s)", gib(machine.memory_bytes), machine.numa_nodes)),
            ("pages", pages(machine.page_size_bytes, &machine.huge_page_sizes_kib)),
            ("system", system.join(", ")),
            ("virtual", machine.virtualisation.clone()),
            ("cgroups", machine.cgroup_version.clone()),
        ];
        let settings = [
            ("SMT", &machine.smt),
            ("governor", &machine.governor),
            ("microcode", &machine.microcode),
            ("clock", &machine.clock_source),
        ];
        let known: Vec<String> =
            settings.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?))).collect();
        if !known.is_empty() {
            lines.push(("settings", known.join(", ")));
        }
        lines.iter().map(|(name, value)| format!("{name:<11}{value}\n")).collect()
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1_u64 << 30) as f64
}

fn pages(base: u64, huge_kib: &[u64]) -> String {
    let mut sizes = vec![format!("{} KiB", base / 1024)];
    sizes.extend(huge_kib.iter().map(|kib| format!("{} MiB", kib / 1024)));
    sizes.join(", ")
}

fn row(check: &Check, widths: [usize; 4]) -> String {
    let mut detail = wrap(&check.detail, widths[2]);
    match &check.status {
        Status::Ok => {}
        Status::Degraded { fallback } => {
            detail.extend(wrap(&format!("instead: {fallback}"), widths[2]));
        }
        Status::Missing { fix } => detail.extend(wrap(&format!("fix: {fix}"), widths[2])),
    }
    let cells = [
        vec![check.status.word().to_owned()],
        vec![check.facility.to_owned()],
        detail,
        wrap(check.needed_for, widths[3]),
    ];
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let mut text = String::new();
    for line in 0..height {
        let mut columns = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            let word = cell.get(line).map_or("", String::as_str);
            columns.push_str(&format!("{word:<width$}{GAP}"));
        }
        text.push_str(columns.trim_end());
        text.push('\n');
    }
    text
}

/// Lines of whole words, each at most `width` wide unless one word is wider.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
