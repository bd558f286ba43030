//! The metrics are OpenMetrics text that a parser takes, and say what has happened.

mod pager_common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::net::UnixStream;

use emu::doctor::skip_without;
use emu::pager::Mode;
use emu::pager::lab::Process;
use emu::pager::metrics::{Target, Teller, text};
use emu::pager::stats::{Report, SourceReport};
use pager_common::{NEEDS, PAGES, Place, batch, reaches, touch};

/// Samples by name and labels. Panics where the text is not as OpenMetrics has it.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
    let mut described = BTreeSet::new();
    let body = text.strip_suffix("# EOF\n").expect("ends with its mark");
    let mut current = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            assert!(name == current && !help.is_empty(), "{line}");
            described.insert(name.to_owned());
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            let name = series.split('{').next().unwrap();
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
            let suffix = name.strip_prefix(current.as_str()).expect("belongs to its family");
            let suffixes: &[&str] = match families[&current].as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                _ => &["_bucket", "_count", "_sum"],
            };
            assert!(suffixes.contains(&suffix), "{line}");
            if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
                let labels = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}'));
                let mut rest = labels.expect("braces");
                while !rest.is_empty() {
                    let (key, after) = rest.split_once("=\"").expect("a label");
                    assert!(key.chars().all(|c| c.is_ascii_lowercase()), "{line}");
                    let end = after
                        .char_indices()
                        .scan(false, |escaped, (at, c)| {
                            let ends = c == '"' && !*escaped;
                            *escaped = c == '\\' && !*escaped;
                            Some((at, ends))
                        })
                        .find_map(|(at, ends)| ends.then_some(at));
                    rest = &after[end.expect("a closed label") + 1..];
                    rest = rest.strip_prefix(',').unwrap_or(rest);
                }
            }
            let value = value.parse().expect("a number");
            assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {series}");
        }
    }
    assert_eq!(families.keys().cloned().collect::<BTreeSet<_>>(), described);
    samples
}

#[test]
fn the_text_of_an_odd_report_is_well_formed() {
    let odd = SourceReport {
        template: "a \"folder\"\\ with, {all}\n".into(),
        source: "x".into(),
        ..Default::default()
    };
    let report = Report {
        sources: vec![odd.clone(), SourceReport { source: "y".into(), ..odd }],
        ..Default::default()
    };
    parse(&text(&report));
    parse(&text(&Report::default()));
}

#[test]
fn metrics_say_what_has_happened_and_parse() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let (server, client) = place.serve(&["file"]);
    let (file, socket) = (place.folder.path().join("metrics"), place.folder.path().join("metrics-socket"));
    let to_file = Teller::start(Target::File(file.clone()), server.reporter()).unwrap();
    let _to_socket = Teller::start(Target::Socket(socket.clone()), server.reporter()).unwrap();
    let (process, _) = Process::attached(&client, &place.template, PAGES, 1, batch(Mode::Shared, 1)).unwrap();
    process.run(&touch(0, PAGES)).unwrap();
    reaches(&(PAGES as u64, PAGES as u64), || {
        let report = client.report().unwrap();
        (report.counts.faults, report.faults.count())
    });
    let mut asked = String::new();
    UnixStream::connect(&socket).unwrap().read_to_string(&mut asked).unwrap();
    let samples = parse(&asked);
    assert_eq!(samples["trenvx_pager_faults_total"], PAGES as f64);
    assert_eq!(samples["trenvx_pager_fault_seconds_count"], PAGES as f64);
    assert_eq!(samples["trenvx_pager_attachments"], 1.0);
    let labels = format!("template=\"{}\",source=\"file\"", place.template.canonicalize().unwrap().display());
    let pages = samples[&format!("trenvx_pager_source_pages_total{{{labels}}}")];
    assert_eq!(pages * 4096.0, samples["trenvx_pager_cache_bytes"]);
    // Buckets add up.
    let buckets: Vec<f64> = asked
        .lines()
        .filter(|line| line.starts_with("trenvx_pager_fault_seconds_bucket"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
        .collect();
    assert!(buckets.is_sorted() && *buckets.last().unwrap() == PAGES as f64);
    // The file has the end of the story.
    drop(to_file);
    assert_eq!(parse(&std::fs::read_to_string(&file).unwrap())["trenvx_pager_faults_total"], PAGES as f64);
}
