//! Every function runs in the base image, its answers are right, and its check finds a handler that is wrong.
//! Needs root and `scripts/setup --functions`; skips itself, and says so, without.

mod functions_common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use emu::doctor::{skip, skip_without};
use emu::functions::{FunctionSpec, Language, Manifest, Place, Places, Process, Usage, find, list, measure};
use functions_common::places;

/// Whether functions can be run in the image here; says why not.
fn cannot_run() -> bool {
    if skip_without(&["root", "namespace-mount", "overlayfs"]) {
        return true;
    }
    if !places().image().join("etc/trenvx-image").is_file() {
        skip("there is no base image: run scripts/setup --functions");
        return true;
    }
    false
}

/// The function with its layers; none (said aloud) where they are missing.
fn located(function: &Manifest, places: &Places) -> Option<FunctionSpec> {
    match function.locate(places) {
        Ok(spec) => Some(spec),
        Err(error) if error.needs_setup() => {
            skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn every_function_gives_right_answers() {
    if cannot_run() {
        return;
    }
    let place = Place::Image(places().image());
    for function in list(&places()).unwrap() {
        let Some(spec) = located(&function, &places()) else { continue };
        let measured = measure(&spec, &place, 2).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(measured.faults, Vec::<String>::new(), "{}", function.name);
        assert!(measured.start_ms > 0.0 && measured.usage.pss_bytes > 1_000_000, "{measured:?}");
        let limit = measured.memory_limit_bytes.unwrap();
        assert!(measured.usage.anonymous_bytes < limit, "{}: above its limit: {measured:?}", function.name);
    }
}

/// All four inputs at once, each in a thread of its own: nothing that a handler keeps gets mixed up.
#[test]
fn worker_threads_give_right_answers() {
    if cannot_run() {
        return;
    }
    let minute = Duration::from_secs(60);
    let place = Place::Image(places().image());
    for mut function in list(&places()).unwrap() {
        if function.language != Language::Python {
            continue;
        }
        function.threads = 4;
        let Some(spec) = located(&function, &places()) else { continue };
        let mut process = Process::start(&spec, &place, minute).unwrap_or_else(|error| panic!("{error}"));
        let inputs = spec.inputs.all();
        for (_, input) in inputs {
            process.client().send(&input.input, minute).unwrap();
        }
        for _ in inputs {
            let (id, reply) = process.client().receive(minute).unwrap();
            let (name, input) = inputs[id.unwrap() as usize - 1];
            assert_eq!(
                input.faults(&reply.unwrap().output),
                Vec::<String>::new(),
                "{}: {name}",
                function.name
            );
        }
        let threads = Usage::of(process.pid()).unwrap().threads;
        assert!(threads >= 5, "{}: {threads} threads", function.name);
        let status = process.finish(minute);
        assert!(status.is_some_and(|status| status.success()), "{}: {status:?}", function.name);
    }
}

/// One plausible mistake per function: what to replace in its handler by what.
const MISTAKES: [(&str, &str, &str); 14] = [
    ("chameleon", "cell + 1\"", "cell + 2\""),
    ("chameleon", "* given[\"rows\"]", "* (given[\"rows\"] - 1)"),
    ("crypto", "Buffer.alloc(16)", "Buffer.alloc(16, 1)"),
    ("dynamic-html", "range(1_000_000)", "range(2_000_000)"),
    ("hello-world", "Hello", "Hallo"),
    ("image-flip-rotate", "image.rotate(90)", "image.rotate(270)"),
    ("image-processing", "ImageFilter.SHARPEN", "ImageFilter.SMOOTH"),
    ("image-processing", "Transpose.FLIP_TOP_BOTTOM", "Transpose.ROTATE_180"),
    ("image-recognition", "(2, 0, 1)", "(2, 1, 0)"),
    ("js-json-serde", "null, 4", "null, 2"),
    ("json-serde", "indent=4", "indent=4, sort_keys=True"),
    ("pagerank", "graph.pagerank()", "graph.pagerank(damping=0.8)"),
    ("pyaes", "encrypt(message)", "encrypt(message[:-1] + b'!')"),
    ("video-processing", "cv2.imread(still)", "frame"),
];

#[test]
fn every_check_finds_a_mistake() {
    if cannot_run() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mistaken = Places { functions: folder.path().join("functions"), ..places() };
    copy(&places().functions.join("runtime"), &mistaken.functions.join("runtime"));
    let place = Place::Image(places().image());
    for (name, from, to) in MISTAKES {
        let function = find(&places(), name).unwrap();
        copy(&function.folder, &mistaken.functions.join(name));
        let handler = mistaken.functions.join(name).join(function.handler.as_ref().unwrap());
        let code = fs::read_to_string(&handler).unwrap();
        assert!(code.contains(from), "{name}: the handler has no {from}");
        fs::write(&handler, code.replace(from, to)).unwrap();

        let Some(spec) = located(&find(&mistaken, name).unwrap(), &mistaken) else { continue };
        let measured = measure(&spec, &place, 1).unwrap_or_else(|error| panic!("{error}"));
        fs::remove_dir_all(&spec.layers[0]).unwrap();
        // Wrong answers, not a handler that fails.
        let wrong = measured.faults.iter().filter(|fault| fault.contains(", expected ")).count();
        assert!(wrong > 0, "{name}: {from} -> {to} was not found: {:?}", measured.faults);
    }
    // One without a handler makes its mistake by its arguments: other pages.
    let mut function = find(&places(), "page-touch").unwrap();
    *function.argv.last_mut().unwrap() = "8".to_owned();
    let Some(spec) = located(&function, &places()) else { return };
    let measured = measure(&spec, &place, 1).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(measured.faults.len(), 4, "{:?}", measured.faults);

    let checked: Vec<&str> = MISTAKES.iter().map(|(name, ..)| *name).collect();
    for function in list(&places()).unwrap() {
        let is_checked = function.language == Language::BuiltIn || checked.contains(&function.name.as_str());
        assert!(is_checked, "{} has no mistake to find", function.name);
    }
}

#[test]
fn a_function_can_write_and_leaves_nothing_behind() {
    if cannot_run() {
        return;
    }
    let image = places().image();
    let folder = tempfile::tempdir().unwrap();
    let own = Places { functions: folder.path().join("functions"), out: places().out };
    copy(&places().functions.join("runtime"), &own.functions.join("runtime"));
    copy(&places().functions.join("hello-world"), &own.functions.join("hello-world"));
    let code = "import os\n\ndef handle(given):\n    for place in ('/tmp/x', '/usr/x', '/function/x'):\n        \
                open(place, 'w').write('x')\n    return {'message': ' '.join(sorted(os.listdir('/function')))}\n";
    fs::write(own.functions.join("hello-world/handler.py"), code).unwrap();
    let spec = find(&own, "hello-world").unwrap().locate(&own).unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap().matches(image.to_str().unwrap()).count();
    let measured = measure(&spec, &Place::Image(image.clone()), 1).unwrap();
    assert!(
        measured.faults.iter().any(|fault| fault.contains("\"code runtime x\"")),
        "{:?}",
        measured.faults
    );
    for place in
        [image.join("tmp/x"), image.join("usr/x"), image.join("run/upper"), spec.layers[0].join("function/x")]
    {
        assert!(!place.exists(), "{} is left", place.display());
    }
    let after = fs::read_to_string("/proc/self/mountinfo").unwrap().matches(image.to_str().unwrap()).count();
    assert_eq!(after, mounts, "mounts of the function are seen outside");
    fs::remove_dir_all(&spec.layers[0]).unwrap();
}

#[test]
fn without_an_image_the_message_says_what_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let own = Places { out: folder.path().to_owned(), ..places() };
    let spec = find(&own, "hello-world").unwrap().locate(&own).unwrap();
    let error = measure(&spec, &Place::Image(own.image()), 1).unwrap_err().to_string();
    assert!(error.contains("base image") && error.contains("scripts/setup --functions"), "{error}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
