//! What must hold of every run, on specs that switch every part of the model on and off together.

mod common;
use common::random::{Case, any_case};
use common::*;
use platform::MemoryClass;
use platform::records::{Outcome, RunRecord, StartKind};
use proptest::prelude::*;
use traces::{Bytes, Duration, Instant};

/// Every arrival is in the records once, with the parts of its latency.
fn outcomes_add_up(case: &Case, record: &RunRecord) -> Result<(), TestCaseError> {
    let calls = case.invocations();
    prop_assert_eq!(record.invocations.len(), calls.len());
    let in_burn_in: u64 = record.functions.iter().map(|f| f.arrivals_in_burn_in).sum();
    let by_outcome: u64 = Outcome::ALL.iter().map(|&outcome| ended(record, outcome)).sum();
    prop_assert_eq!(in_burn_in + by_outcome, calls.len() as u64);
    let by_start: u64 = StartKind::ALL.iter().map(|&kind| started(record, kind)).sum();
    prop_assert_eq!(by_start, ended(record, Outcome::Completed));
    prop_assert_eq!(ended(record, Outcome::Unfinished), 0);
    if !case.loses_anything() {
        prop_assert_eq!((ended(record, Outcome::Failed), record.counters.lost), (0, 0));
    }
    let timeout = case.spec().cluster.queue_timeout;
    for (number, (got, asked)) in record.invocations.iter().zip(&calls).enumerate() {
        prop_assert_eq!(got.number, number as u64);
        prop_assert_eq!((got.function, got.arrival_ns), (asked.function().0, asked.arrival()));
        prop_assert_eq!(got.burn_in, asked.arrival() < Instant::ZERO + case.burn_in());
        prop_assert!(got.queueing_ns <= timeout, "{got:?} waited longer than {timeout}");
        match got.outcome {
            Outcome::Completed => {
                prop_assert!(got.service_ns >= asked.service(), "{got:?} faster than {}", asked.service());
                prop_assert!(got.start.is_some() && got.node.is_some());
            }
            Outcome::TimedOut => prop_assert_eq!((got.start, got.queueing_ns), (None, timeout)),
            Outcome::Rejected => prop_assert_eq!((got.start, got.queueing_ns), (None, Duration::ZERO)),
            _ => prop_assert_eq!(got.service_ns, Duration::ZERO),
        }
        if got.start == Some(StartKind::Warm) && case.spec().system.state != platform::system::State::Ready {
            prop_assert_eq!(got.startup_ns, Duration::ZERO);
        }
    }
    Ok(())
}

/// Nodes and devices hold what the classes say, and no sample lies above the peak.
fn memory_agrees(case: &Case, record: &RunRecord) -> Result<(), TestCaseError> {
    let memory = &record.memory;
    let of = |class: MemoryClass| memory.gib_seconds[class as usize];
    let local: f64 = MemoryClass::ALL.iter().filter(|class| class.is_local()).map(|&class| of(class)).sum();
    let nodes: f64 = memory.nodes.iter().map(|place| place.gib_seconds).sum();
    prop_assert!((local - nodes).abs() <= 1e-9 * local.max(1.0), "classes {local} GiB s, nodes {nodes}");
    let devices: f64 = memory.devices.iter().map(|place| place.gib_seconds).sum();
    let cxl = of(MemoryClass::PoolCxl);
    prop_assert!((cxl - devices).abs() <= 1e-9 * cxl.max(1.0), "class {cxl} GiB s, devices {devices}");
    let (from, until) = (Instant::ZERO + case.burn_in(), Instant::ZERO + case.span());
    for sample in &memory.samples {
        prop_assert_eq!(sample.bytes.local() + pool_bytes(&sample.bytes), sample.bytes.total());
        // What is there at the last instant is not held for any time.
        if sample.at < from || sample.at >= until {
            continue;
        }
        prop_assert!(sample.bytes.local() <= memory.peak_local);
        for class in MemoryClass::ALL {
            prop_assert!(sample.bytes.get(class) <= memory.peak.get(class), "{class:?} at {}", sample.at);
        }
    }
    let highest = memory.nodes.iter().map(|place| place.peak).max().unwrap_or_default();
    let together: Bytes = memory.nodes.iter().map(|place| place.peak).sum();
    prop_assert!(highest <= memory.peak_local && memory.peak_local <= together);
    Ok(())
}

/// Sandboxes stay under the declared cap, and what is left without them is what was there before.
fn memory_is_given_back(case: &Case, record: &RunRecord) -> Result<(), TestCaseError> {
    let spec = case.spec();
    let functions = case.functions();
    // What is there at the beginning, before anything fails.
    let whole = configs::Spec { faults: configs::spec::Faults::default(), ..spec.clone() };
    let empty = sim::simulate(&whole, case.what_is_played(&functions, std::iter::empty()));
    let resident = empty.memory.samples[0].bytes;
    // A bare sandbox holds no memory of any function, and layers declare none for it.
    let bare_are_free = spec.system.keep_alive == platform::system::KeepAlive::Layers;
    for sample in &record.memory.samples {
        let sandboxes = u64::from(sample.busy + sample.idle);
        let rooms = case.rooms() * u64::from(spec.cluster.nodes);
        prop_assert!(bare_are_free || sandboxes <= rooms, "{sandboxes} sandboxes in {rooms} rooms");
        if sandboxes == 0 && case.loses_anything() {
            // What a lost node held from the beginning is gone until it is back.
            prop_assert!(sample.bytes.local() <= resident.local());
        } else if sandboxes == 0 {
            prop_assert_eq!(sample.bytes.local(), resident.local());
        }
        if case.loses_anything() {
            prop_assert!(sample.bytes.get(MemoryClass::PoolRdma) <= resident.get(MemoryClass::PoolRdma));
        } else {
            prop_assert_eq!(sample.bytes.get(MemoryClass::PoolRdma), resident.get(MemoryClass::PoolRdma));
        }
    }
    let fits = resident.get(MemoryClass::PoolCxl) <= spec.machine.cxl.capacity;
    for device in record.memory.devices.iter().filter(|_| fits) {
        prop_assert!(device.peak <= spec.machine.cxl.capacity, "a device holds {}", device.peak);
    }
    Ok(())
}

/// No core does more than its time.
fn cores_suffice(case: &Case, record: &RunRecord) -> Result<(), TestCaseError> {
    let cores = u64::from(case.spec().cluster.cores * case.spec().cluster.nodes);
    let mut before = Instant::ZERO;
    for sample in &record.memory.samples {
        let interval = sample.at.since(before);
        prop_assert!(sample.core_time <= interval * cores, "{} in {interval} on {cores}", sample.core_time);
        before = sample.at;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn outcomes_memory_and_core_time_are_conserved(case in any_case()) {
        let record = case.play();
        outcomes_add_up(&case, &record)?;
        memory_agrees(&case, &record)?;
        memory_is_given_back(&case, &record)?;
        cores_suffice(&case, &record)?;
    }
}
