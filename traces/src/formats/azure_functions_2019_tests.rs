use super::*;
use crate::samples;

const COUNTS: &str = "HashOwner,HashApp,HashFunction,Trigger,7,8\no1,a1,f1,http,2,0\no1,a1,f2,timer,1,3\n";
const DURATIONS: &str = "\
HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum,percentile_Average_0,percentile_Average_1,\
percentile_Average_25,percentile_Average_50,percentile_Average_75,percentile_Average_99,percentile_Average_100
o1,a1,f2,30,9,10,50,10,10,20,30,40,50,50
o1,a1,f1,0,9,0,0,0,0,0,0,0,0,0
";
const MEMORY: &str = "HashOwner,HashApp,SampleCount,AverageAllocatedMb\no1,a1,5,100\n";

fn files(counts: &str, durations: &str, memory: Option<&str>) -> Files {
    let source = |name: &str, text: &str| Source::bytes(name, text.as_bytes().to_vec());
    Files {
        invocations: source("counts.csv", counts),
        durations: source("durations.csv", durations),
        memory: memory.map(|text| source("memory.csv", text)),
    }
}

fn message(counts: &str, durations: &str, options: &Options) -> String {
    import(&files(counts, durations, None), options).unwrap_err().to_string()
}

#[test]
fn the_bundled_samples_hold_exactly_the_invocations_that_were_counted_in_them() {
    for (functions, invocations) in [(100, 339_657), (250, 567_403), (500, 3_037_902)] {
        let (counted, report) =
            read(&samples::azure_functions_2019(functions).unwrap(), &Options::default()).unwrap();
        assert_eq!(
            (report.functions, report.invocations, counted.steps),
            (u64::from(functions), invocations, 480)
        );
        assert!(counted.functions.iter().all(|function| function.function.memory.is_some()));
    }
}

#[test]
fn a_sample_becomes_a_sound_workload_that_depends_on_the_seed_only() {
    let sample = samples::azure_functions_2019(100).unwrap();
    let import = |seed| import(&sample, &Options { seed, ..Options::default() }).unwrap().workload;
    let workload = import(1);
    workload.validate().unwrap();
    assert_eq!((workload.invocations.len(), workload.span), (339_657, Duration::from_secs(480 * 60)));
    assert_eq!(import(1).hash(), workload.hash());
    assert_ne!(import(2).hash(), workload.hash());
}

#[test]
fn tables_join_by_name_and_memory_of_an_application_is_divided_over_its_functions() {
    let Imported { workload, report } =
        import(&files(COUNTS, DURATIONS, Some(MEMORY)), &Options::default()).unwrap();
    workload.validate().unwrap();
    assert_eq!(workload.counts(), [2, 4]);
    assert!(workload.functions.iter().all(|function| function.memory == Some(Bytes::from_mib(50))));
    assert_eq!(report.count_of("zero_duration_functions"), 1);
    assert_eq!(report.count_of("zero_duration_invocations"), 2);
    assert_eq!(
        report.notes,
        ["memory is per application (average allocated, read as MiB), divided evenly over its functions"]
    );
}

#[test]
fn columns_may_come_in_any_order() {
    let shuffled = "8,HashFunction,Trigger,HashApp,HashOwner,7\n0,f1,http,a1,o1,2\n3,f2,timer,a1,o1,1\n";
    let plain = import(&files(COUNTS, DURATIONS, None), &Options::default()).unwrap().workload;
    let other = import(&files(shuffled, DURATIONS, None), &Options::default()).unwrap().workload;
    assert_eq!(plain.hash(), other.hash());
}

#[test]
fn a_malformed_count_is_named_by_file_line_and_column() {
    let counts = COUNTS.replace("timer,1,3", "timer,1,-3");
    assert_eq!(
        message(&counts, DURATIONS, &Options::default()),
        "counts.csv:3: column \"8\": \"-3\" is not a whole number that is not negative; correct or remove this row"
    );
}

#[test]
fn a_negative_duration_is_named_or_dropped_on_request() {
    let durations = DURATIONS.replace("f2,30,9,10,50,10", "f2,30,9,10,50,-10");
    assert_eq!(
        message(COUNTS, &durations, &Options::default()),
        "durations.csv:2: column \"percentile_Average_0\": \"-10\" is not a number that is not negative; correct or \
         remove this row"
    );
    let drop = Options { malformed: OnDefect::Drop, unjoined: OnDefect::Drop, ..Options::default() };
    let report = import(&files(COUNTS, &durations, None), &drop).unwrap().report;
    assert_eq!(report.count_of("dropped_duration_rows"), 1);
    assert_eq!(report.count_of("dropped_functions_without_durations"), 1);
    assert_eq!(report.count_of("dropped_invocations_without_durations"), 4);
    assert_eq!((report.functions, report.invocations), (1, 2));
}

#[test]
fn a_short_row_is_named_by_its_line() {
    let counts = COUNTS.replace("timer,1,3", "timer,1");
    assert_eq!(
        message(&counts, DURATIONS, &Options::default()),
        "counts.csv:3: the row has 5 fields, the header has 6; the row is cut short or has stray commas"
    );
}

#[test]
fn a_function_without_durations_is_an_error_unless_it_may_be_dropped() {
    let counts = format!("{COUNTS}o1,a1,f3,http,5,6\n");
    assert_eq!(
        message(&counts, DURATIONS, &Options::default()),
        "counts.csv:4: function o1/a1/f3 has no row in durations.csv; give the durations file of the same day, or \
         drop such functions with --unjoined drop"
    );
    let drop = Options { unjoined: OnDefect::Drop, ..Options::default() };
    let report = import(&files(&counts, DURATIONS, None), &drop).unwrap().report;
    assert_eq!(report.count_of("dropped_functions_without_durations"), 1);
    assert_eq!(report.count_of("dropped_invocations_without_durations"), 11);
}

#[test]
fn a_missing_column_is_named_with_the_columns_that_are_there() {
    let durations = DURATIONS.replace("percentile_Average_99", "P99");
    assert_eq!(
        message(COUNTS, &durations, &Options::default()),
        "durations.csv: no column \"percentile_Average_99\", which azure-functions-2019 requires (found: HashOwner, \
         HashApp, HashFunction, Average, Count, Minimum, Maximum, percentile_Average_0, …); is this another format?"
    );
}

#[test]
fn a_gap_between_minutes_is_refused() {
    let counts = COUNTS.replace("7,8", "7,9");
    assert_eq!(
        message(&counts, DURATIONS, &Options::default()),
        "counts.csv: minute 7 is followed by minute 9; the header must name one column a minute, such as 1..1440, \
         without gaps"
    );
}

#[test]
fn a_repeated_function_is_named_by_both_lines() {
    let counts = format!("{COUNTS}o1,a1,f1,http,5,6\n");
    assert_eq!(
        message(&counts, DURATIONS, &Options::default()),
        "counts.csv:4: function o1/a1/f1 is here a second time (first on line 2); remove one of the rows, or drop \
         all but the first with --malformed drop"
    );
}

#[test]
fn a_missing_file_of_a_day_is_named() {
    let error = import(&Files::of_day(Path::new("nowhere"), 3), &Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "nowhere/function_durations_percentiles.anon.d03.csv: cannot open: No such file or directory (os error 2)"
    );
}
