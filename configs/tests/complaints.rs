//! What is refused, and the words in which it is. One committed message each: a reader of the
//! message must find the place and know what to do.

mod common;

use common::{AGENTS, Folder, HEAD, SURFING};
use configs::{Tier, Typed, find, list, root};

/// The complaint about an experiment that is the usual head and this text.
fn complaint(text: &str) -> String {
    Folder::new().complaint(text, &[])
}

/// The complaint about a shipped or fixture file with one text replaced.
fn broken(name: &str, from: &str, to: &str) -> String {
    let folder = Folder::new();
    folder.replace(name, from, to);
    folder.complaint("", &[])
}

macro_rules! refused {
    ($($name:ident: $text:expr;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(stringify!($name), complaint($text));
        }
    )*};
}

refused! {
    a_size_without_a_unit: "cluster.memory_cap = \"64\"\n";
    a_bare_number: "[cluster]\nmemory_cap = 64\n";
    a_duration_with_a_wrong_unit: "[keep_alive]\n  ttl = \"10m\"\n";
    a_negative_duration: "keep_alive.ttl = \"-2 min\"\n";
    a_ttl_of_zero: "keep_alive.ttl = \"0 s\"\n";
    an_unknown_key: "[cluster]\nmemroy_cap = \"64 GiB\"\n";
    an_unknown_table: "[clutser]\nnodes = 4\n";
    a_count_of_zero: "cluster.nodes = 0\n";
    a_fraction_of_a_node: "cluster.nodes = 1.5\n";
    a_count_in_quotes: "cluster.nodes = \"4\"\n";
    a_system_misspelt: "systems = [\"criu\", \"t-clx\"]\n";
    a_system_twice: "systems = [\"criu\", \"criu\"]\n";
    no_system_at_all: "systems = []\n";
    a_system_outside_a_list: "systems = \"t-cxl\"\n";
    two_workloads: "[workload]\nw1 = {}\nw2 = {}\n";
    an_unknown_workload: "[workload.azure-our]\n";
    a_workload_without_its_keys: "[workload.zipf]\nfunctions = 10\n";
    a_window_inside_the_burn_in: "[workload.azure-2019]\ninvocations = \"i\"\ndurations = \"d\"\nspread = \"even\"\nburn_in = \"1 h\"\nwindow = \"30 min\"\n";
    an_unknown_placement: "[placement.sandbox-awaer]\n";
    a_bound_below_one: "[placement.hash-affinity]\nbound = 0.5\n";
    seeds_listed_twice: "seeds = [1, 2, 1]\n";
    no_seeds: "seeds = { n = 0 }\n";
    an_unknown_world: "worlds = [\"simulator\"]\n";
    an_unknown_tier: "[tier.quick]\nseeds = { n = 1 }\n";
    a_mistake_in_another_tier: "[tier.full]\ncluster.cores = \"many\"\n";
    an_unknown_figure: "[[figures]]\nkind = \"latency-percentile\"\nname = \"a\"\ntitle = \"A\"\n";
    a_figure_of_no_panel: "[[figures]]\nkind = \"latency-cdf\"\nname = \"a\"\ntitle = \"A\"\npanel = \"W3\"\n";
    two_figures_of_one_name: "[[figures]]\nkind = \"latency-cdf\"\nname = \"a\"\ntitle = \"A\"\n[[figures]]\nkind = \"start-kinds\"\nname = \"a\"\ntitle = \"B\"\n";
    a_figure_of_no_metric: "[[figures]]\nkind = \"bars\"\nname = \"a\"\ntitle = \"A\"\nmetric = \"start_up\"\nstatistic = \"p99\"\n";
    a_figure_without_its_metric: "[[figures]]\nkind = \"bars\"\nname = \"a\"\ntitle = \"A\"\n";
    a_statistic_that_the_metric_lacks: "[[figures]]\nkind = \"bars\"\nname = \"a\"\ntitle = \"A\"\nmetric = \"local\"\nstatistic = \"p99\"\n";
    starts_of_what_is_no_latency: "[[figures]]\nkind = \"bars\"\nname = \"a\"\ntitle = \"A\"\nmetric = \"local\"\nstatistic = \"peak\"\nstarts = [\"warm\"]\n";
    a_metric_where_none_belongs: "[[figures]]\nkind = \"latency-cdf\"\nname = \"a\"\ntitle = \"A\"\nmetric = \"startup\"\nx = \"cluster.nodes\"\n";
    a_figure_of_an_unknown_system: "systems = [\"t-cxl\"]\n[[figures]]\nkind = \"latency-cdf\"\nname = \"a\"\ntitle = \"A\"\nsystems = [\"t-cxl\", \"t-clx\"]\n";
    lines_along_nothing: "[[figures]]\nkind = \"sweep-lines\"\nname = \"a\"\ntitle = \"A\"\nmetric = \"local\"\nstatistic = \"peak\"\n";
    lines_along_a_key_that_stands_still: "[[figures]]\nkind = \"sweep-lines\"\nname = \"a\"\ntitle = \"A\"\nmetric = \"local\"\nstatistic = \"peak\"\nx = \"cluster.node\"\nlines = \"cluster.cores\"\n[sweep]\n\"cluster.nodes\" = [1, 2]\n";
    lines_along_words: "[[figures]]\nkind = \"sweep-lines\"\nname = \"a\"\ntitle = \"A\"\nmetric = \"local\"\nstatistic = \"peak\"\n[sweep]\nworkload = [\"w1\", \"w2\"]\n";
    calls_that_are_all_burn_in: "[workload.calls]\nfunctions = []\nat_once = 0\nrounds = 2\nburn_in_rounds = 2\nevery = \"1 s\"\n";
    a_panel_with_a_key_of_its_own: "[[panel]]\nname = \"W1\"\nsystems = [\"criu\"]\n";
    a_timeline_that_ends_before_it_begins: "[output.timeline]\nfrom = \"2 min\"\nuntil = \"1 min\"\n";
    a_sweep_of_nothing: "[sweep]\n\"cluster.nodes\" = 4\n";
    a_sweep_of_an_unknown_key: "[sweep]\n\"cluster.node\" = [1, 2]\n";
    a_sweep_with_an_unquoted_key: "[sweep]\ncluster.nodes = [1, 2]\n";
    a_sweep_that_is_no_table: "sweep = [1, 2]\n";
    a_sweep_with_a_bad_value: "[sweep]\n\"cluster.nodes\" = [1, 0]\n";
    a_sweep_of_one_value_twice: "[sweep]\n\"cluster.nodes\" = [1, 2, 1]\n";
    a_sweep_of_seeds: "[sweep]\nseeds = [1, 2]\n";
    a_sweep_of_the_experiment_itself: "[sweep]\ntitle = [\"A\", \"B\"]\n";
    a_sweep_of_too_many_points: "[sweep]\n\"cluster.nodes\" = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n\"cluster.cores\" = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n\"keep_alive.ttl\" = [\"1 s\", \"2 s\", \"3 s\", \"4 s\", \"5 s\", \"6 s\", \"7 s\", \"8 s\", \"9 s\", \"10 s\"]\n\"override.machine.cxl.latency\" = [\"1 ns\", \"2 ns\", \"3 ns\", \"4 ns\", \"5 ns\", \"6 ns\", \"7 ns\", \"8 ns\", \"9 ns\", \"10 ns\"]\n\"cluster.queue_timeout\" = [\"1 s\", \"2 s\", \"3 s\", \"4 s\", \"5 s\", \"6 s\", \"7 s\", \"8 s\", \"9 s\", \"10 s\"]\n\"output.invocations\" = [true, false]\n";
    a_zip_of_unequal_lists: "[[sweep.zip]]\n\"cluster.cores\" = [1, 2, 3]\n\"cluster.nodes\" = [1, 2]\n";
    a_zip_with_one_bracket: "[sweep.zip]\n\"cluster.nodes\" = [1, 2]\n";
    a_zip_of_nothing: "[[sweep.zip]]\n";
    a_zip_of_a_key_in_the_grid: "[sweep]\n\"cluster.nodes\" = [1, 2]\n[[sweep.zip]]\n\"cluster.nodes\" = [1, 2]\n";
    a_zip_inside_a_swept_value: "[sweep]\nworkload = [\"w1\", \"w2\"]\n[[sweep.zip]]\n\"workload.zipf.functions\" = [1, 2]\n";
    a_list_with_another_key: "[[sweep.list]]\n\"cluster.nodes\" = 1\n[[sweep.list]]\n\"cluster.nodse\" = 2\n";
    a_list_that_lacks_a_key: "[[sweep.list]]\n\"cluster.nodes\" = 1\n\"cluster.cores\" = 1\n[[sweep.list]]\n\"cluster.nodes\" = 2\n";
    a_list_with_an_unquoted_key: "[[sweep.list]]\ncluster.nodes = 1\n";
    a_list_with_one_point_twice: "[[sweep.list]]\n\"cluster.nodes\" = 1\n[[sweep.list]]\n\"cluster.nodes\" = 1\n";
    a_machine_that_is_not_there: "machine = \"../machines/papers.toml\"\n";
    an_override_of_no_constant: "[override.machine.cxl]\nlatncy = \"300 ns\"\n";
    an_override_of_no_profile: "[override.profiles.plian]\nthreads = 2\n";
    an_override_of_a_system: "[override.systems.t-cxl]\ncgroup = \"moved\"\n";
    toml_that_is_none: "[cluster\nnodes = 1\n";
    several_mistakes_at_once: "systems = [\"t-clx\"]\nkeep_alive.ttl = 120\n[cluster]\nnodse = 1\ncores = 0\n";
}

#[test]
fn a_head_that_lacks_its_keys() {
    let folder = Folder::new();
    let error = folder.load_whole("id = \"e-99\"\n", Tier::Kick, &[]).unwrap_err();
    insta::assert_snapshot!(error.to_string().replace(&format!("{}/", folder.path().display()), "configs/"));
}

#[test]
fn a_constant_without_a_source() {
    insta::assert_snapshot!(broken(
        "machines/paper.toml",
        "netns_enter = { value = \"40 us\", source = \"faasd and CRIU branch `switch`, comment: enter namespaces 40 us\" }",
        "netns_enter = \"40 us\""
    ));
}

#[test]
fn a_constant_assumed_without_a_reason() {
    insta::assert_snapshot!(broken("profiles/trenv-functions.toml", ", why = \"it is a test\"", ""));
}

#[test]
fn a_share_above_one() {
    insta::assert_snapshot!(broken(
        "profiles/trenv-functions.toml",
        "read_only_accesses = 0.6",
        "read_only_accesses = 60"
    ));
}

#[test]
fn a_profile_with_an_unknown_page_group() {
    insta::assert_snapshot!(broken(
        "profiles/trenv-functions.toml",
        "[plain.pages.library]",
        "[plain.pages.libary]"
    ));
}

#[test]
fn a_profile_with_half_a_page_group() {
    insta::assert_snapshot!(broken("profiles/trenv-functions.toml", "written = \"2 MiB\"\n", ""));
}

#[test]
fn a_default_profile_that_is_not_there() {
    insta::assert_snapshot!(broken(
        "profiles/trenv-functions.toml",
        "profile = \"plain\"",
        "profile = \"plan\""
    ));
}

/// The complaint about an experiment of one agent, with one text of its profiles file or of its own
/// replaced.
fn broken_agent(from: &str, to: &str) -> String {
    let folder = Folder::new();
    folder.write("profiles/agents.toml", &AGENTS.replacen(from, to, 1));
    assert!(AGENTS.contains(from) || SURFING.contains(from), "nothing to break: {from}");
    folder.complaint(&SURFING.replacen(from, to, 1), &[])
}

macro_rules! agents_refused {
    ($($name:ident: $from:literal => $to:literal;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(stringify!($name), broken_agent($from, $to));
        }
    )*};
}

agents_refused! {
    an_agent_of_an_unknown_trace: "tokens = \"azure-code\"" => "tokens = \"azure-coed\"";
    an_agent_without_steps: "[[surfer.agent.steps]]\nwork = \"llm\"\nmemory = \"0 B\"\n" => "";
    an_agent_of_an_unknown_work: "work = \"browser\"" => "work = \"browse\"";
    an_agent_that_waits_for_a_stated_time: "memory = \"0 B\"" => "memory = \"0 B\"\ntime = \"1 s\"";
    an_agent_of_too_many_turns: "turns = 5" => "turns = 200";
    an_agent_without_a_source: "[surfer.agent]\nsource = \"made up for this test\"\n" => "[surfer.agent]\n";
    an_agent_without_a_browser_to_use: "[browser]\nsource = \"made up for this test\"\nstart = \"300 ms\"\nfiles = \"200 MB\"\nown = \"150 MB\"\ntab = \"30 MB\"\n" => "";
    an_agent_without_prices: "vcpu = \"0.05 USD/h\"" => "vcpu = \"0.05\"";
    a_rate_of_no_tokens: "answer_rate = \"50 tokens/s\"" => "answer_rate = \"0 tokens/s\"";
    a_workload_of_an_unknown_agent: "agents = [\"surfer\"]" => "agents = [\"surfers\"]";
    agents_that_never_arrive: "within = \"1 s\"\n" => "";
}

#[test]
fn a_service_time_of_two_kinds() {
    insta::assert_snapshot!(broken(
        "profiles/trenv-functions.toml",
        "{ constant = \"5 ms\" }",
        "{ constant = \"5 ms\", log-normal = {} }"
    ));
}

#[test]
fn sets_that_are_none() {
    let folder = Folder::new();
    insta::assert_snapshot!(folder.complaint("", &["cluster.nodes", "=4", "a b=4"]));
}

#[test]
fn a_set_with_a_bad_value() {
    insta::assert_snapshot!(Folder::new().complaint("", &["cluster.memory_cap=64", "keep_alive.tll=1 s"]));
}

#[test]
fn sweeps_on_the_line_that_are_none() {
    let typed = |sweeps: &[&str], zips: &[&str]| {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Typed { sweeps: words(sweeps), zips: words(zips), ..Typed::default() }
    };
    let folder = Folder::new();
    let text =
        "[sweep]\n\"cluster.cores\" = [1, 2]\n[[sweep.zip]]\n\"cluster.dram\" = [\"1 GB\", \"2 GB\"]\n";
    let complaint = |typed: &Typed| {
        let error = folder.load_typed(text, typed).expect_err("this must not load").to_string();
        error.replace(&format!("{}/", folder.path().display()), "configs/")
    };
    let malformed =
        typed(&["cluster.nodes", "=[1]", "cluster.nodes=[1", "cluster.nodes=1..4"], &["a=[8 GB]"]);
    let meaningless = typed(
        &["cluster.nodes=4", "cluster.node=[1, 2]", "keep_alive.ttl=[\"10m\"]"],
        &["placement=[]", "cluster.dram=[\"1 GB\"]"],
    );
    let unequal = typed(&[], &["cluster.nodes=[1, 2]", "keep_alive.ttl=[\"1 min\"]"]);
    insta::assert_snapshot!(format!(
        "{}\n\n{}\n\n{}",
        complaint(&malformed),
        complaint(&meaningless),
        complaint(&unequal)
    ));
}

#[test]
fn sets_of_keys_that_cannot_have_one_value_alone() {
    let folder = Folder::new();
    let text = "[[sweep.zip]]\n\"cluster.cores\" = [1, 2]\n[[sweep.list]]\n\"cluster.nodes\" = 1\n";
    insta::assert_snapshot!(folder.complaint(text, &["cluster.cores=4", "cluster.nodes=4"]));
}

#[test]
fn an_experiment_without_a_base() {
    let folder = Folder::new();
    std::fs::remove_file(folder.path().join("base.toml")).unwrap();
    insta::assert_snapshot!(folder.complaint("", &[]));
}

#[test]
fn an_experiment_nobody_knows() {
    let folder = Folder::new();
    folder.write("experiments/e04-w1.toml", HEAD);
    folder.write("experiments/e05-w2.toml", HEAD);
    let complaint = |id: &str| {
        find(id, folder.path())
            .unwrap_err()
            .to_string()
            .replace(&format!("{}/", folder.path().display()), "configs/")
    };
    insta::assert_snapshot!(format!(
        "{}\n{}\n{}",
        complaint("e05-w1"),
        complaint("azure"),
        complaint("experiments/e06.toml")
    ));
    assert_eq!(find("e05", folder.path()).unwrap(), folder.path().join("experiments/e05-w2.toml"));
    assert_eq!(list(folder.path()).unwrap().len(), 2);
}

#[test]
fn a_folder_without_configurations() {
    let empty = tempfile::tempdir().unwrap();
    let error = root(Some(empty.path())).unwrap_err().to_string();
    insta::assert_snapshot!(error.replace(&empty.path().display().to_string(), "EMPTY"));
}
