//! Attach and first reply from each tier, in a guest of the lab that has a CXL device and reads another by RDMA.
//!
//! The guest runs the same program (`emu bench tiers`) and sends its rows back. Devices are emulated: what is counted
//! and compared is true, times say nothing of such devices, and every row says so.

use std::fs;
use std::time::Duration;

use runs::{Chart, MeasuredRow};

use super::{Error, Outcome};
use crate::bench_tiers::{Row, Tier};
use crate::functions::{self, Places};
use crate::guest::node::EMULATED;
use crate::guest::{self, Backing, Ended, Job, Lab, LabError, Node, Spec};
use crate::pool::rdma::Key;

const MIB: f64 = (1 << 20) as f64;
/// How long the guest may take for everything after it is up.
const WITHIN: Duration = Duration::from_secs(600);
/// Memory of the guest and of its CXL device, MiB. A third of the device is used as a whole, a third becomes a node, the
/// rest holds files.
const MEMORY_MIB: u64 = 2048;
const CXL_MIB: u64 = 1536;

/// Prepares the devices; prints the one that is used as a whole.
const PREPARE: &str = "set -e
dax=$(trenvx emu pool device --mode devdax --mib 512)
trenvx emu pool format --device $dax >&2
";
/// A node of CXL memory: of a device of its own, which is the kernel's then.
const PREPARE_NODE: &str = "ndctl create-namespace --mode devdax --map mem --size 512M >&2
node=$(ls /dev/dax* | grep -vx $dax)
trenvx emu pool device --mode node --online $node --mount /mnt/node >&2
";
const PREPARE_FILES: &str = "trenvx emu pool device --mode fsdax --mount /mnt/pool >&2
echo $dax
";
/// How long that may take, and a pool to be up.
const PREPARED_WITHIN: Duration = Duration::from_secs(120);
/// Port of the pool.
const PORT: u16 = 7471;

/// Boots guests, measures in the first, and ends them. What is read by RDMA lies in the second, or in the same if there
/// is no other: either way on the CXL device, which all have, and into which the first has put it.
pub(super) fn run(
    places: &Places,
    function: &str,
    tiers: &[String],
    starts: u32,
    guests: u32,
) -> Result<Outcome, Error> {
    // Its code is laid out here: the guest sees this machine's files read-only.
    functions::find(places, function)?.locate(places)?;
    let program =
        std::env::current_exe().map_err(|why| LabError::Step { step: "find this program".into(), why })?;
    let logs = places.out.join(guest::LOGS).join(std::process::id().to_string());
    let mut spec = Spec::new(&places.out.join(guest::FOLDER), &program, &logs);
    spec.cpus = 2;
    spec.memory_mib = MEMORY_MIB;
    let rdma = tiers.iter().any(|tier| tier.starts_with("rdma"));
    spec.nodes = if rdma { guests as usize } else { 1 };
    spec.cxl = Some((CXL_MIB, if spec.nodes > 1 { Backing::Shared } else { Backing::Fresh }));
    spec.rdma = rdma;
    spec.criu = true;
    spec.sandboxes = true;
    eprintln!("booting {} with CXL memory", if spec.nodes > 1 { "guests" } else { "a guest" });
    let lab = Lab::boot(&spec)?;
    let label = label(lab.accelerator().name());
    let nothing =
        |ended: &Ended| Error::Nothing(format!("{}; logs are in {}", ended.errors.trim(), logs.display()));
    let node = tiers.iter().any(|tier| tier == Tier::CxlNode.name());
    let script = [PREPARE, if node { PREPARE_NODE } else { "" }, PREPARE_FILES].concat();
    let prepared = lab.node(0).run(["sh", "-c", &script], PREPARED_WITHIN)?;
    if !prepared.is_success() {
        return Err(nothing(&prepared));
    }
    let device = prepared.output.trim();
    let path = |path: &std::path::Path| path.display().to_string();
    let functions = format!("{}={}", functions::FUNCTIONS_VARIABLE, path(&places.functions));
    let mut words = ["env", &functions, "trenvx", "--out", &path(&places.out)].map(str::to_owned).to_vec();
    words.extend(["emu", "bench", "tiers", function, "--starts", &starts.to_string()].map(str::to_owned));
    words.extend(["--devdax", device, "--fsdax", "/mnt/pool"].map(str::to_owned));
    words.extend(if node { vec!["--node".to_owned(), "/mnt/node".to_owned()] } else { Vec::new() });
    words.extend(tiers.iter().flat_map(|tier| ["--tier".to_owned(), tier.clone()]));
    let pool = if rdma {
        let key = logs.join("key");
        Key::read_or_make(&key).map_err(|why| LabError::Step { step: "make a key".into(), why })?;
        let node = lab.node(spec.nodes - 1);
        let address = format!("{}:{PORT}", Lab::address(node.number()));
        words.extend(["--rdma", &address, "--key", &path(&key)].map(str::to_owned));
        Some(serve(node, device, &address, &path(&key))?)
    } else {
        None
    };
    let ended = lab.node(0).run(words, WITHIN)?;
    drop(pool);
    drop(lab);
    let rows: Vec<Row> = ended.output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if !ended.is_success() || rows.len() != tiers.len() {
        return Err(nothing(&ended));
    }
    let _ = fs::remove_dir_all(&logs);
    Ok(Outcome {
        rows: rows.iter().flat_map(|row| measured(row, &label)).collect(),
        charts: vec![
            Chart::parts("pools-start", "Attach and first reply by tier, in a guest", "start", "Median (ms)"),
            Chart::wholes(
                "pools-pages",
                "Pages that came from the tier until the first reply",
                "pages",
                "Pages",
            ),
            Chart::wholes(
                "pools-first-pages",
                "The same of the first start, which finds none that an earlier one has fetched",
                "pages of the first start",
                "Pages",
            ),
            Chart::wholes("pools-memory", "Memory of its own after the first reply", "private memory", "MiB"),
        ],
        warnings: vec![
            label.clone(),
            "pages that came from DRAM include neighbours that the kernel maps around a fault; CXL files have none \
             of that"
                .to_owned(),
        ],
        wrong: Vec::new(),
        stand_ins: stand_ins(&label, rdma),
    })
}

/// What is drawn below each figure.
fn stand_ins(label: &str, rdma: bool) -> Vec<String> {
    let mut stand_ins = vec![format!("{label}: {CXL_MIB} MiB of this machine's DRAM stand for a CXL device")];
    if rdma {
        stand_ins.push("a device in software (SoftRoCE) stands for an RDMA card".to_owned());
    }
    stand_ins
}

/// Starts the pool daemon in a guest: it serves what is on the device, where it lies.
fn serve<'a>(node: &'a Node, device: &str, address: &str, key: &str) -> Result<Job<'a>, Error> {
    let found = ["trenvx", "emu", "pool", "device", "--mode", "devdax", "--read-only"];
    let found = node.run(found, PREPARED_WITHIN)?;
    if !found.is_success() || found.output.trim() != device {
        let (wrong, number) = (found.errors.trim(), node.number() + 1);
        return Err(Error::Nothing(format!("guest {number} does not find {device}: {wrong}")));
    }
    let words = ["trenvx", "emu", "pool", "serve", "--device", device, "--listen", address, "--key", key];
    let mut daemon = node.start(words)?;
    daemon.wait_for("serving on", PREPARED_WITHIN)?;
    Ok(daemon)
}

/// What has to be read with each row.
pub(super) fn label(accelerator: &str) -> String {
    format!("In a guest under {}, {EMULATED}", accelerator.to_uppercase())
}

fn measured(row: &Row, label: &str) -> Vec<MeasuredRow> {
    // The rows' own word, so that figures know its colour.
    let subject = || row.tier.clone();
    if let Some(why) = &row.not_run {
        return vec![MeasuredRow {
            subject: subject(),
            metric: "start".into(),
            note: format!("NOT-RUN: {why}"),
            ..MeasuredRow::default()
        }];
    }
    let of = |metric: &str, part: &str, unit: &str, value: f64| MeasuredRow {
        subject: subject(),
        metric: metric.to_owned(),
        part: part.to_owned(),
        unit: unit.to_owned(),
        n: row.starts.into(),
        median: Some(value),
        note: label.to_owned(),
        ..MeasuredRow::default()
    };
    vec![
        of("start", "attach", "ms", row.attach_ms),
        of("start", "first reply", "ms", row.reply_ms),
        of("pages", "", "", row.pages as f64),
        of("pages of the first start", "", "", row.first_pages as f64),
        of("bytes", "", "MiB", row.pages as f64 * 4096.0 / MIB),
        of("private memory", "", "MiB", row.private_bytes as f64 / MIB),
        of("proportional memory", "", "MiB", row.proportional_bytes as f64 / MIB),
        of("verified pages", "", "", row.verified as f64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_of_experiments_are_those_that_there_are() {
        assert_eq!(configs::Measure::TIERS, Tier::ALL.map(Tier::name));
    }

    #[test]
    fn every_row_says_that_its_times_are_those_of_an_emulation() {
        let row = Row { tier: "dram".into(), starts: 2, pages: 256, ..Row::default() };
        let rows = measured(&row, &label("tcg"));
        let note = "In a guest under TCG, emulated device: functional, not timing";
        assert!(rows.iter().all(|row| row.note == note && row.n == 2), "{rows:?}");
        let bytes = rows.iter().find(|row| row.metric == "bytes").and_then(|row| row.median);
        assert_eq!(bytes, Some(1.0));
        let row = Row { not_run: Some("no device".into()), ..row };
        assert_eq!(measured(&row, "").first().map(|row| row.note.as_str()), Some("NOT-RUN: no device"));
    }
}
