//! The committed functions are complete, and a manifest that is wrong is answered with the place and the reason.

mod functions_common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use emu::functions::{Error, Language, Manifest, Places, find, list};
use functions_common::places;

/// Published: memory limits of the copies, MB, and the language.
const PUBLISHED: [(&str, [u64; 3], Language); 12] = [
    ("chameleon", [300, 300, 400], Language::Python),
    ("crypto", [84, 192, 170], Language::Node),
    ("dynamic-html", [64, 128, 148], Language::Python),
    ("hello-world", [128, 128, 128], Language::Python),
    ("image-flip-rotate", [560, 650, 624], Language::Node),
    ("image-processing", [224, 300, 300], Language::Python),
    ("image-recognition", [768, 888, 800], Language::Python),
    ("js-json-serde", [100, 96, 128], Language::Node),
    ("json-serde", [100, 116, 132], Language::Python),
    ("pagerank", [280, 250, 300], Language::Python),
    ("pyaes", [64, 200, 128], Language::Python),
    ("video-processing", [224, 300, 300], Language::Python),
];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn all_functions_are_there_as_published() {
    let functions = list(&places()).unwrap();
    for (name, memory_mb, language) in PUBLISHED {
        let function = functions.iter().find(|function| function.name == name).expect(name);
        let inputs = &function.inputs;
        let found = [&inputs.base, &inputs.first, &inputs.second].map(|input| input.memory_mb.unwrap());
        assert_eq!((found, function.language), (memory_mb, language), "{name}");
        assert_eq!(function.cpus, if name == "image-recognition" { 2 } else { 1 }, "{name}");
    }
}

#[test]
fn the_inputs_of_a_function_differ() {
    for function in list(&places()).unwrap() {
        let inputs: BTreeSet<String> =
            function.inputs.all().iter().map(|(_, input)| input.input.to_string()).collect();
        assert_eq!(inputs.len(), 4, "{}: {inputs:?}", function.name);
        assert!(!function.summary.is_empty(), "{}", function.name);
        assert!(
            function.check.starts_with("exact: ") || function.check.starts_with("tolerance: "),
            "{}: it does not say how its answers are checked",
            function.name
        );
    }
}

#[test]
fn what_a_function_needs_is_pinned() {
    for function in list(&places()).unwrap() {
        let folder = &function.folder;
        if let Ok(requirements) = fs::read_to_string(folder.join("requirements.txt")) {
            let packages: Vec<&str> = requirements.lines().filter(|line| !line.starts_with(' ')).collect();
            assert!(!packages.is_empty(), "{}", function.name);
            for package in packages {
                assert!(package.contains("==") && package.ends_with('\\'), "{}: {package}", function.name);
            }
            assert!(requirements.contains("--hash=sha256:"), "{}", function.name);
        }
        if let Ok(wanted) = fs::read_to_string(folder.join("package.json")) {
            let locked = read(&folder.join("package-lock.json"));
            let wanted: serde_json::Value = serde_json::from_str(&wanted).unwrap();
            let locked: serde_json::Value = serde_json::from_str(&locked).unwrap();
            assert_eq!(wanted["dependencies"], locked["packages"][""]["dependencies"], "{}", function.name);
            for (name, package) in
                locked["packages"].as_object().unwrap().iter().filter(|(name, _)| !name.is_empty())
            {
                assert!(package["integrity"].is_string(), "{}: {name} has no digest", function.name);
                assert!(package["resolved"].is_null(), "{}: {name} names its registry", function.name);
            }
        }
        if let Some(owner) = &function.data {
            let generator = places().functions.join(owner).join("generate.py");
            assert!(generator.is_file(), "{}: {} is missing", function.name, generator.display());
        }
    }
}

#[test]
fn an_unknown_name_suggests_the_nearest() {
    let error = find(&places(), "imageprocessing").unwrap_err();
    assert_eq!(error.to_string(), "there is no function `imageprocessing`: did you mean `image-processing`?");
    let error = find(&places(), "zzzzzz").unwrap_err();
    assert!(error.to_string().contains("trenvx emu functions list"), "{error}");
    assert_eq!(find(&places(), "pyaes").unwrap().name, "pyaes");
}

#[test]
fn a_folder_without_functions_is_named() {
    let nowhere = Places { functions: "/no/such/folder".into(), out: "/tmp".into() };
    let message = list(&nowhere).unwrap_err().to_string();
    assert!(message.contains("/no/such/folder") && message.contains("TRENVX_FUNCTIONS"), "{message}");
}

#[test]
fn a_function_that_is_not_set_up_says_what_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let places = Places { out: folder.path().to_owned(), ..places() };
    let error = find(&places, "pyaes").unwrap().locate(&places).unwrap_err();
    assert!(error.needs_setup());
    assert!(
        error.to_string().contains("pyaes") && error.to_string().contains("scripts/setup --functions"),
        "{error}"
    );
    // One that needs nothing is ready at once, and its code is laid out once.
    let hello = find(&places, "hello-world").unwrap();
    let first = hello.locate(&places).unwrap();
    assert_eq!(first.layers, hello.locate(&places).unwrap().layers);
    let files = |path: &str| first.layers[0].join("function").join(path).is_file();
    assert!(files("code/handler.py") && files("runtime/serve.py") && !files("code/manifest.toml"));
}

#[test]
fn a_changed_handler_makes_another_layer() {
    let folder = tempfile::tempdir().unwrap();
    let functions = folder.path().join("functions");
    fs::create_dir_all(functions.join("hello-world")).unwrap();
    fs::create_dir_all(functions.join("runtime/python")).unwrap();
    for file in ["hello-world/manifest.toml", "hello-world/handler.py", "runtime/python/serve.py"] {
        fs::copy(places().functions.join(file), functions.join(file)).unwrap();
    }
    let places = Places { functions: functions.clone(), out: folder.path().join("out") };
    let layer = || find(&places, "hello-world").unwrap().locate(&places).unwrap().layers[0].clone();
    let before = layer();
    fs::write(functions.join("hello-world/handler.py"), "def handle(given):\n    return given\n").unwrap();
    let after = layer();
    assert_ne!(before, after);
    assert!(read(&after.join("function/code/handler.py")).contains("return given"));
}

const GOOD: &str = r#"
summary = "a test"
language = "python"
handler = "handler.py"
cpus = 1
pids = 64
check = "exact: a number"

[inputs.base]
input = { n = 1 }
expect = [{ at = "/n", equal = 1 }]

[inputs._1]
input = { n = 2 }
expect = [{ at = "/n", equal = 2 }]

[inputs._2]
input = { n = 3 }
expect = [{ at = "/n", equal = 3 }]

[inputs.warm-up]
input = { n = 4 }
expect = [{ at = "/n", equal = 4 }]
"#;

/// The manifest with `from` replaced by `to`; where it is refused, and why.
fn refusal(from: &str, to: &str) -> (usize, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("handler.py"), "").unwrap();
    assert!(from.is_empty() || GOOD.contains(from), "{from}");
    fs::write(folder.path().join("manifest.toml"), GOOD.replacen(from, to, 1)).unwrap();
    match Manifest::read(folder.path()) {
        Err(Error::Manifest { line, message, .. }) => (line, message),
        other => panic!("{from:?} -> {to:?}: {other:?}"),
    }
}

#[test]
fn a_good_manifest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("handler.py"), "").unwrap();
    fs::write(folder.path().join("manifest.toml"), GOOD).unwrap();
    let manifest = Manifest::read(folder.path()).unwrap();
    assert_eq!((manifest.threads, manifest.cpus, manifest.pids), (0, 1, 64));
    assert_eq!(manifest.inputs.second.input, serde_json::json!({"n": 3}));

    let native = GOOD
        .replace("\"python\"", "\"native\"")
        .replace("handler = \"handler.py\"", "argv = [\"/bin/true\"]");
    fs::write(folder.path().join("manifest.toml"), native).unwrap();
    let manifest = Manifest::read(folder.path()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let spec = manifest.locate(&Places { out: out.path().to_owned(), ..places() }).unwrap();
    assert_eq!((spec.language, spec.argv), (Language::Native, vec!["/bin/true".to_owned()]));
    assert!(spec.layers[0].join("function/code").is_dir());
}

#[test]
fn a_bad_manifest_is_refused_with_its_line() {
    let cases = [
        ("cpus = 1", "cpu = 1", 5, "unknown field `cpu`"),
        ("cpus = 1", "cpus = \"one\"", 5, "expected u32"),
        ("cpus = 1", "cpus = ", 5, ""),
        ("\"python\"", "\"ruby\"", 3, "unknown variant `ruby`"),
        ("\"python\"", "\"native\"", 3, "a native function has `argv`"),
        ("handler = \"handler.py\"", "", 3, "a function in python has a `handler`"),
        ("handler.py", "handle.py", 4, "there is no file `handle.py`"),
        ("check = \"exact: a number\"", "", 1, "missing field `check`"),
        (
            "language = \"python\"",
            "language = \"node\"\nthreads = 2",
            4,
            "only Python functions have worker threads",
        ),
        ("equal = 2", "equals = 2", 15, "unknown field `equals`"),
        ("equal = 3", "near = 3", 19, "`near` with `by`"),
        ("[{ at = \"/n\", equal = 4 }]", "[]", 23, "state at least one"),
        ("[inputs._2]", "[inputs._3]", 17, "unknown field `_3`"),
    ];
    for (from, to, line, reason) in cases {
        let (found, message) = refusal(from, to);
        assert!(message.contains(reason), "{from:?} -> {to:?}: {message}");
        assert_eq!(found, line, "{from:?} -> {to:?}: {message}");
    }
    // An input that is missing as a whole is missed where the inputs begin, or where the file does.
    let (_, message) = refusal("[inputs._2]\ninput = { n = 3 }\nexpect = [{ at = \"/n\", equal = 3 }]\n", "");
    assert!(message.contains("missing field `_2`"), "{message}");
}
