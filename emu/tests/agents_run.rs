//! Agents run: right answers, the same twice; what goes wrong with one is reported, and the others go on.

#[path = "agents_common/mod.rs"]
mod common;

use std::path::Path;
use std::time::Duration;

use common::{agents, kill, no_agents, no_browser, restart_model};
use emu::agents::Manifest;
use emu::agents::harness::{Lab, Settings};
use emu::agents::report::{Report, Row};
use emu::agents::site::{blog, shop};

/// So fast that waits for the model do not count.
const FAST: f64 = 1e4;

fn settings(names: &[&str], count: usize, speed: f64) -> Settings {
    let mut settings = Settings::new(agents(names));
    settings.count = count;
    settings.rates.speed = speed;
    settings.deadline = Duration::from_secs(120);
    settings
}

fn run(names: &[&str], count: usize) -> Report {
    Lab::start(settings(names, count, FAST)).unwrap().run().unwrap()
}

fn outcomes(report: &Report) -> Vec<&str> {
    report.agents.iter().map(|row| row.outcome.as_str()).collect()
}

#[test]
fn agents_without_a_browser_come_to_the_right_answers_twice() {
    if no_agents() {
        return;
    }
    let names = ["blackjack", "bug-fixer", "map-reduce"];
    let [first, second] = [run(&names, 6), run(&names, 6)];
    assert_eq!(outcomes(&first), ["right"; 6], "{}", first.table());
    let answers = |report: &Report| report.agents.iter().map(|row| row.answer.clone()).collect::<Vec<_>>();
    assert_eq!(answers(&first), answers(&second));
    let asked = |report: &Report| {
        let mut asked: Vec<_> = report
            .requests
            .iter()
            .map(|one| {
                (one.agent.clone(), one.seed, one.turn, one.pace.prompt_tokens, one.pace.answer_tokens)
            })
            .collect();
        asked.sort();
        asked
    };
    assert_eq!(asked(&first), asked(&second), "the same requests with the same sizes");
    assert!(first.requests.iter().all(|one| one.outcome == "answered" && one.stream));
    let fixer = &first.agents[1];
    assert!(
        fixer.spent.tool_cpu_s > 0.0 && fixer.spent.tool_runs >= 3 && fixer.peak_bytes > 1 << 20,
        "{fixer:?}"
    );
}

#[test]
fn a_map_reduce_counts_what_is_there() {
    if no_agents() {
        return;
    }
    let report = run(&["map-reduce"], 1);
    let text = std::fs::read_to_string(common::folder().join("map-reduce/text.txt")).unwrap().to_lowercase();
    let words: Vec<&str> = text
        .split(|c: char| !(c.is_ascii_lowercase() || c == '\''))
        .filter(|word| !word.is_empty())
        .collect();
    let answer = &report.agents[0].answer;
    assert_eq!(answer["words"], words.len());
    assert_eq!(answer["often"]["of"], words.iter().filter(|word| **word == "of").count());
}

#[test]
fn agents_that_share_a_browser_come_to_the_right_answers() {
    if no_browser() {
        return;
    }
    let names = ["shop-assistant", "blog-summary", "game-design"];
    let mut settings = settings(&names, 6, FAST);
    settings.per_browser = 6;
    let report = Lab::start(settings).unwrap().run().unwrap();
    assert_eq!(outcomes(&report), ["right"; 6], "{}", report.table());
    assert_eq!((report.browsers.len(), report.browsers[0].starts), (1, 1));
    for row in &report.agents {
        check(row);
    }
}

/// The answer by the site's own books instead of its pages.
fn check(row: &Row) {
    let answer = &row.answer;
    match row.agent.as_str() {
        "shop-assistant" => {
            let stars = answer["stars"].as_u64().unwrap();
            let goods = shop::of_category(answer["category"].as_str().unwrap());
            let wanted = goods.filter(|one| u64::from(one.stars) >= stars && one.stock);
            let best = wanted.min_by_key(|one| one.cents).unwrap();
            assert_eq!((&answer["product"], &answer["cents"]), (&best.id.into(), &best.cents.into()));
            let seen = answer["seen"].as_array().unwrap();
            assert_eq!(seen.last(), Some(&best.id.into()), "the product bought was the last one looked at");
        }
        "blog-summary" => {
            let topic = answer["topic"].as_str().unwrap();
            let posts = (1..=blog::POSTS).filter_map(blog::post).filter(|post| post.topic == topic);
            let ids: Vec<u32> = posts.map(|post| post.id).collect();
            assert_eq!(answer["posts"], serde_json::json!(ids));
        }
        _ => {
            let scores = answer["scores"].as_array().unwrap();
            assert_eq!((scores.len(), &scores[0]), (3, &0.into()), "{answer}");
            assert!(scores[2].as_u64() >= answer["goal"].as_u64(), "{answer}");
        }
    }
}

#[test]
fn a_killed_browser_costs_its_agents_a_new_beginning_and_no_answer() {
    if no_browser() {
        return;
    }
    let mut settings = settings(&["shop-assistant", "blackjack"], 4, 40.0);
    settings.per_browser = 2;
    let lab = Lab::start(settings).unwrap();
    let report = std::thread::scope(|scope| {
        let running = scope.spawn(|| lab.run().unwrap());
        let browser = &lab.broker().unwrap().browsers()[0];
        // Once both have pages open.
        let both = || lab.broker().unwrap().tallies().values().filter(|tally| tally.steps >= 3).count() == 2;
        while !both() && !running.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
        }
        kill(&browser.processes());
        running.join().unwrap()
    });
    assert_eq!(outcomes(&report), ["right"; 4], "{}", report.table());
    assert_eq!(report.browsers[0].starts, 2, "{}", report.table());
    let begun: Vec<u64> = report.agents.iter().map(|row| row.spent.beginnings).collect();
    assert!(begun[0].max(begun[2]) == 2 && begun[1] == 1 && begun[3] == 1, "{begun:?}");
}

#[test]
fn a_model_that_is_killed_and_started_again_is_asked_again() {
    if no_agents() {
        return;
    }
    let lab = Lab::start(settings(&["blackjack", "map-reduce"], 4, 50.0)).unwrap();
    let report = std::thread::scope(|scope| {
        let running = scope.spawn(|| lab.run().unwrap());
        restart_model(&lab, &running);
        running.join().unwrap()
    });
    assert_eq!(outcomes(&report), ["right"; 4], "{}", report.table());
    assert!(report.agents.iter().any(|row| row.spent.retries > 0), "{}", report.table());
}

#[test]
fn agents_that_fail_are_named_and_the_others_go_on() {
    if no_agents() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let programs = [
        ("hangs", "import os, time\nif os.fork() == 0:\n    os.setsid()\ntime.sleep(1000)\n"),
        ("dies", "import os\nos.kill(os.getpid(), 9)\n"),
        ("lies", "print('{\"answer\": 3}')\n"),
        (
            "strays",
            "import trenvx_agent\ntrenvx_agent.run(lambda agent: agent.model('x').ask('another question'))\n",
        ),
        (
            "waits",
            "import trenvx_agent\nimport os\nos.environ['TRENVX_LLM'] = '127.0.0.1:1'\ntrenvx_agent.TRIES = 2\n\
                   trenvx_agent.run(lambda agent: agent.model('x').ask('who is there'))\n",
        ),
        (
            "shouts",
            "import sys\nwhile True:\n    print('x' * 10**6)\n    print('x' * 10**6, file=sys.stderr)\n",
        ),
        ("works", "print('{\"answer\": 4}')\n"),
    ];
    std::fs::create_dir(folder.path().join("runtime")).unwrap();
    let runtime = common::folder().join("runtime/trenvx_agent.py");
    std::fs::copy(runtime, folder.path().join("runtime/trenvx_agent.py")).unwrap();
    let made: Vec<Manifest> = programs
        .iter()
        .map(|(name, program)| {
            let agent = folder.path().join(name);
            std::fs::create_dir_all(agent.join("recordings")).unwrap();
            let manifest = "summary = \"\"\nsource = \"\"\nbrowser = false\ntokens = \"azure-code\"\n";
            std::fs::write(agent.join("manifest.toml"), manifest).unwrap();
            std::fs::write(agent.join("agent.py"), program).unwrap();
            std::fs::write(agent.join("recordings/0.json"), r#"{"turns": [], "answer": 4}"#).unwrap();
            Manifest::read(&agent).unwrap()
        })
        .collect();
    let mut settings = Settings::new(made);
    settings.deadline = Duration::from_secs(8);
    let lab = Lab::start(settings).unwrap();
    let (id, top) = (lab.ward().id().to_owned(), lab.ward().folder());
    let report = lab.run().unwrap();
    let expected = ["deadline", "died", "wrong", "model-refused", "model-unavailable", "deadline", "right"];
    assert_eq!(outcomes(&report), expected, "{}", report.table());
    assert!(report.agents[3].message.contains("the recording ends"), "{}", report.agents[3].message);
    assert_eq!(report.failed(), 6);
    // What it shouted, gigabytes, is neither here nor in a file.
    let about = std::fs::read_to_string("/proc/self/status").unwrap();
    let most_kib = about.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let most_kib: u64 = most_kib.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(most_kib < 500 << 10, "{most_kib} KiB");
    drop(lab);
    assert!(!top.exists());
    assert!(!emu::clean::find().unwrap().keys().any(|label| label.id() == id));
}

#[test]
fn a_profile_of_a_run_is_one_that_the_simulator_takes() {
    if no_agents() {
        return;
    }
    let report = run(&["bug-fixer", "blackjack"], 4);
    assert_eq!(outcomes(&report), ["right"; 4], "{}", report.table());
    let folder = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("configs");
    for name in ["base.toml", "experiments/e13-agents-latency.toml", "machines/paper.toml"] {
        let copy = folder.path().join(name);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(shipped.join(name), copy).unwrap();
    }
    std::fs::create_dir(folder.path().join("profiles")).unwrap();
    for name in ["agents.toml", "trenv-functions.toml"] {
        std::fs::copy(shipped.join("profiles").join(name), folder.path().join("profiles").join(name))
            .unwrap();
    }
    let file = folder.path().join("profiles/agents.toml");
    emu::agents::profile::write(&report, &file, &file).unwrap();
    let experiment = folder.path().join("experiments/e13-agents-latency.toml");
    configs::load(&experiment, configs::Tier::Kick, &[]).unwrap_or_else(|error| panic!("{error}"));

    let text = std::fs::read_to_string(&file).unwrap();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let fixer = &table["bug-fixer"]["agent"];
    let asked = &report.agents[0].spent.requests.max(report.agents[2].spent.requests);
    assert_eq!(fixer["turns"]["value"].as_integer().unwrap(), i64::try_from(*asked).unwrap());
    let works: Vec<&str> =
        fixer["steps"].as_array().unwrap().iter().map(|step| step["work"].as_str().unwrap()).collect();
    assert_eq!(works, ["llm", "own", "tool"]);
    let before = std::fs::read_to_string(shipped.join("profiles/agents.toml")).unwrap();
    let before: toml::Table = toml::from_str(&before).unwrap();
    assert_eq!(table["bug-fixer"]["pages"], before["bug-fixer"]["pages"], "what was not measured stays");
    assert_eq!(table["game-design"], before["game-design"], "who did not run stays");
}

#[test]
fn the_model_is_as_fast_as_that_of_the_simulator() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("configs/profiles/agents.toml");
    let table: toml::Table = toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let stated = |key: &str| table["llm"][key]["value"].as_str().unwrap().to_owned();
    let rates = emu::agents::pace::Rates::default();
    let ours = [rates.prompt_per_s, rates.answer_per_s].map(|rate| format!("{rate} tokens/s"));
    assert_eq!(ours, [stated("prompt_rate"), stated("answer_rate")]);
    for agent in agents(&[]) {
        let tokens = &table[&agent.name]["agent"]["tokens"]["value"];
        assert_eq!(tokens.as_str(), Some(agent.tokens.name()), "{}", agent.name);
    }
}
