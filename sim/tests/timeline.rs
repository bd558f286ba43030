//! A timeline says what the other records say, and changes none of them.

mod common;
use common::random::{Case, any_case};
use configs::spec::TimelineWindow;
use platform::MemoryClass;
use platform::records::{Amount, Happening, Outcome, RunRecord, Timeline, TimelineLevel, TimelinePlace};
use proptest::prelude::*;
use std::collections::BTreeMap;
use traces::{Bytes, Duration, Instant};

/// The case with a timeline of that window.
fn play(case: &Case, window: TimelineWindow) -> (RunRecord, Timeline) {
    let mut spec = case.spec();
    spec.output.timeline = Some(window);
    let functions = case.functions();
    let mut record = sim::simulate(&spec, case.what_is_played(&functions, case.invocations().into_iter()));
    let timeline = record.timeline.take().expect("a timeline was asked for");
    record.warnings.retain(|warning| !warning.contains("output.timeline"));
    (record, timeline)
}

/// A window that everything lies in.
const ALL: TimelineWindow =
    TimelineWindow { from: Instant::ZERO, until: Instant::from_nanos(1_000_000_000_000_000) };

fn slices_of_a_sandbox_follow_each_other(timeline: &Timeline) -> Result<(), TestCaseError> {
    let mut slices = timeline.slices.clone();
    slices.sort_by_key(|slice| (slice.node, slice.sandbox, slice.begin));
    for slice in &slices {
        let end = slice.begin + slice.length;
        prop_assert!(slice.begin >= timeline.window.from && end <= timeline.window.until);
        prop_assert!(slice.length > Duration::ZERO);
    }
    for pair in slices.windows(2) {
        let same = (pair[0].node, pair[0].sandbox) == (pair[1].node, pair[1].sandbox);
        prop_assert!(!same || pair[0].begin + pair[0].length <= pair[1].begin, "{pair:?}");
    }
    Ok(())
}

/// An invocation's slices and waits are its queueing, start-up and service.
fn slices_add_up(record: &RunRecord, timeline: &Timeline) -> Result<(), TestCaseError> {
    let mut busy: BTreeMap<u64, Duration> = BTreeMap::new();
    for slice in &timeline.slices {
        if let Some(invocation) = slice.invocation {
            *busy.entry(invocation).or_default() += slice.length;
        }
    }
    let waits: BTreeMap<u64, Duration> = timeline.waits.iter().map(|w| (w.invocation, w.length)).collect();
    for call in &record.invocations {
        let waited = waits.get(&call.number).copied().unwrap_or_default();
        prop_assert_eq!(waited, call.queueing_ns, "{:?}", call);
        if call.outcome == Outcome::Completed {
            let busy = busy.get(&call.number).copied().unwrap_or_default();
            prop_assert_eq!(busy, call.startup_ns + call.service_ns, "{:?}", call);
        }
    }
    Ok(())
}

/// Levels in force at an instant, the changes of that instant included.
fn levels_at(timeline: &Timeline, at: Instant) -> BTreeMap<(TimelinePlace, Amount), u64> {
    let mut levels = BTreeMap::new();
    for &TimelineLevel { place, of, value, .. } in timeline.levels.iter().filter(|level| level.at <= at) {
        levels.insert((place, of), value);
    }
    levels
}

fn levels_agree_with_samples(record: &RunRecord, timeline: &Timeline) -> Result<(), TestCaseError> {
    let TimelineWindow { from, until } = timeline.window;
    for sample in record.memory.samples.iter().filter(|sample| (from..=until).contains(&sample.at)) {
        let levels = levels_at(timeline, sample.at);
        for class in MemoryClass::ALL {
            let of_class = levels.iter().filter(|((_, of), _)| *of == Amount::Memory(class));
            let sum: u64 = of_class.map(|(_, value)| value).sum();
            prop_assert_eq!(Bytes(sum), sample.bytes.get(class), "{:?} at {}", class, sample.at);
        }
    }
    Ok(())
}

/// Cores in use, over time, are the core time.
fn cores_add_up(record: &RunRecord, timeline: &Timeline) -> Result<(), TestCaseError> {
    let Some(last) = record.memory.samples.last() else { return Ok(()) };
    let (mut in_use, mut since, mut core_time) = (BTreeMap::new(), Instant::ZERO, Duration::ZERO);
    let mut changes: Vec<_> =
        timeline.levels.iter().filter(|l| l.of == Amount::Cores && l.at <= last.at).collect();
    changes.sort_by_key(|level| level.at);
    for level in changes {
        core_time += level.at.since(since) * in_use.values().sum::<u64>();
        since = level.at;
        in_use.insert(level.place, level.value);
    }
    core_time += last.at.since(since) * in_use.values().sum::<u64>();
    let sampled: Duration = record.memory.samples.iter().map(|sample| sample.core_time).sum();
    prop_assert_eq!(core_time, sampled);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_timeline_of_everything_says_what_the_records_say(case in any_case()) {
        let (record, timeline) = play(&case, ALL);
        let mut plain = case.play();
        plain.timeline = None;
        plain.warnings.retain(|warning| !warning.contains("output.timeline"));
        prop_assert_eq!(&record, &plain);
        prop_assert_eq!(timeline.dropped, 0);
        slices_of_a_sandbox_follow_each_other(&timeline)?;
        slices_add_up(&record, &timeline)?;
        levels_agree_with_samples(&record, &timeline)?;
        cores_add_up(&record, &timeline)?;
        let marks = |what| timeline.marks.iter().filter(|mark| mark.what == what).count() as u64;
        let counters = &record.counters;
        for (what, counted) in [
            (Happening::Expired, counters.expired),
            (Happening::Evicted, counters.evicted),
            (Happening::Repurposed, counters.repurposed),
            (Happening::Demoted, counters.demoted),
            (Happening::Promoted, counters.promoted),
            (Happening::Lost, counters.lost),
        ] {
            prop_assert_eq!(marks(what), counted, "{:?}", what);
        }
    }

    #[test]
    fn a_window_holds_what_lies_in_it(case in any_case(), from in 0u64..200, length in 1u64..100) {
        let from = Instant::ZERO + Duration::from_secs(from);
        let window = TimelineWindow { from, until: from + Duration::from_secs(length) };
        let (record, timeline) = play(&case, window);
        let (_, whole) = play(&case, ALL);
        slices_of_a_sandbox_follow_each_other(&timeline)?;
        levels_agree_with_samples(&record, &timeline)?;
        let within = |at: Instant| (window.from..=window.until).contains(&at);
        let expected = whole.marks.iter().filter(|mark| within(mark.at)).count();
        prop_assert_eq!(timeline.marks.len(), expected);
        let clipped = |begin: Instant, length: Duration| {
            (begin + length).min(window.until).since(begin.max(window.from))
        };
        let expected: Duration = whole.slices.iter().map(|s| clipped(s.begin, s.length)).sum();
        prop_assert_eq!(timeline.slices.iter().map(|s| s.length).sum::<Duration>(), expected);
    }
}
