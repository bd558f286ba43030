//! Functions of a wanted size, and zygotes of functions.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::sandbox::Program;
use crate::template::Subject;

/// Answers with the sum of the first bytes of a few pages, spread over memory of the wanted size.
const SIZED: &str = r#"
import json, os
size = MIB << 20
memory = bytearray(os.urandom(4096) * (size >> 12))
for at in range(0, size, 4096):
    memory[at] = 1
os.write(1, b'{"ready":true,"function":"sized-MIB","pid":1,"threads":1}\n')
rest = b""
while piece := os.read(0, 65536):
    *whole, rest = (rest + piece).split(b"\n")
    for line in whole:
        request = json.loads(line)
        step = max(size // 64 & ~4095, 4096)
        n = sum(memory[at] for at in range(0, min(size, 64 * step), step))
        os.write(1, json.dumps({"id": request["id"], "ok": True, "output": {"n": n}}).encode() + b"\n")
"#;

/// Loads a handler as the runner does (a fork's memory in no file is mostly its parent's, so only what is dirty and its
/// alone counts as private), then forks a child for each request, which answers it, tells what memory it
/// has, and ends.
const ZYGOTE: &str = r#"
import json, os, runpy, sys
serve = runpy.run_path("/function/runtime/serve.py")
name, path = sys.argv[1:3]
channel = serve["Channel"](*serve["move_protocol"]())
handler = serve["load"](path)
channel.send({"ready": True, "function": name, "pid": os.getpid(), "threads": 1})
for line in channel.lines():
    if not line.strip():
        continue
    child = os.fork()
    if child == 0:
        channel.send(serve["answer"](handler, line))
        fields = dict(row.split(":") for row in open("/proc/self/smaps_rollup").read().splitlines()[1:])
        kib = lambda key: int(fields[key].split()[0])
        channel.send({"private_kib": kib("Private_Dirty"), "proportional_kib": kib("Pss")})
        os._exit(0)
    os.waitpid(child, 0)
"#;

/// A function in Python that holds so much memory. Its layer is written under `folder`.
///
/// # Errors
/// If it cannot be written.
pub fn synthetic(mib: u64, folder: &Path) -> io::Result<Subject> {
    let name = format!("sized-{mib}");
    let layer = write(folder, &name, &SIZED.replace("MIB", &mib.to_string()))?;
    let program = Program::new(["/usr/bin/python3".to_owned(), format!("/function/{name}.py")]);
    let program = super::roomy(Program { layers: vec![layer], ..program });
    // As many pages as are looked at.
    let looked = 64.min(mib << 20 >> 12);
    let one = super::input(looked);
    let inputs = serde_json::json!({ "base": one, "_1": one, "_2": one, "warm-up": one });
    let inputs = serde_json::from_value(inputs).map_err(io::Error::other)?;
    Ok(Subject { name, program, inputs })
}

/// The same function as a process that forks; `None` if it is not in Python.
pub(super) fn zygote(subject: &Subject) -> Option<Program> {
    let crate::sandbox::Start::Exec { argv } = &subject.program.start else { return None };
    let after = |option: &str| {
        let at = argv.iter().position(|word| word == option)?;
        argv.get(at + 1).cloned()
    };
    if !argv.first()?.ends_with("python3") {
        return None;
    }
    let (name, handler) = (after("--name")?, after("--handler")?);
    let argv = ["/usr/bin/python3".to_owned(), "-c".to_owned(), ZYGOTE.to_owned(), name, handler];
    Some(Program { start: crate::sandbox::Start::Exec { argv: argv.into() }, ..subject.program.clone() })
}

fn write(folder: &Path, name: &str, source: &str) -> io::Result<PathBuf> {
    let layer = folder.join(name);
    let file = layer.join("function").join(format!("{name}.py"));
    fs::create_dir_all(layer.join("function"))?;
    fs::write(&file, source)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(layer)
}
