//! What a function has written, closed files and folders too, is there where its template is attached; so are the limits
//! that it has set.

mod template_common;

use emu::doctor::skip_without;
use serde_json::json;
use template_common::python::serving;
use template_common::{NEEDS, Place, ask, lacks};

const SCRIPT: &str = r#"
import resource, socket, stat
os.makedirs("/tmp/cache/deep")
with open("/tmp/cache/deep/model", "wb") as file:
    file.write(bytes(range(256)) * 1000)
os.chmod("/tmp/cache/deep/model", 0o640)
os.utime("/tmp/cache/deep/model", ns=(1_500_000_000_123_456_789,) * 2)
os.symlink("deep/model", "/tmp/cache/link")
os.symlink("/nowhere", "/tmp/cache/dangling")
open("/tmp/cache/empty", "w").close()
os.mkdir("/tmp/closed")
open("/tmp/closed/inside", "w").write("kept")
os.chmod("/tmp/closed", 0o500)
open("/dev/shm/shared", "w").write("in memory")
held = open("/tmp/held", "w+")
held.write("open")
held.flush()
listener = socket.socket(socket.AF_UNIX)
listener.bind("/tmp/cache/socket")
os.chmod("/tmp/cache/socket", 0o700)
listener.listen(7)
os.unlink("/home/user/gone")
os.unlink("/home/user/replaced")
open("/home/user/replaced", "w").write("new")
resource.setrlimit(resource.RLIMIT_NOFILE, (500, 600))
resource.setrlimit(resource.RLIMIT_STACK, (4 << 20, 64 << 20))

def tree(top):
    found = {}
    for folder, folders, files in os.walk(top):
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            about = os.lstat(path)
            what = [stat.filemode(about.st_mode), about.st_uid]
            if stat.S_ISLNK(about.st_mode):
                what = [os.readlink(path)]
            if stat.S_ISREG(about.st_mode):
                what += [about.st_mtime_ns, hash(open(path, "rb").read().hex()) * 0 + len(open(path, "rb").read()), open(path, "rb").read()[-3:].hex()]
            found[path] = what
    return found

def look():
    client = socket.socket(socket.AF_UNIX)
    client.connect("/tmp/cache/socket")
    accepted = listener.accept()[0]
    client.send(b"hello")
    heard = accepted.recv(10).decode()
    client.close(); accepted.close()
    held.seek(0)
    return [tree("/tmp"), tree("/dev/shm"), tree("/home/user"), heard, held.read(),
            resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_STACK)]
"#;

#[test]
fn what_a_function_wrote_and_closed_is_there_in_its_copies() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let mut program = place.script("writes.py", &serving(SCRIPT));
    // A folder of the function's own user in a layer, to remove files from.
    let layer = place.folder.path().join("layer-home");
    let home = layer.join("home/user");
    std::fs::create_dir_all(&home).unwrap();
    for name in ["gone", "replaced", "stays"] {
        std::fs::write(home.join(name), name).unwrap();
    }
    let user = Some(program.confinement.user);
    for path in [home.clone(), home.join("gone"), home.join("replaced")] {
        std::os::unix::fs::chown(path, user, user).unwrap();
    }
    program.layers.push(layer);
    let mut original = place.start(&program);
    let template = place.capture(&original, "writes").unwrap();
    let expected = ask(&mut original, &json!("look()"));
    assert_eq!(expected[0]["/tmp/cache/deep/model"][2], 1_500_000_000_123_456_789_u64);
    assert_eq!(expected[0]["/tmp/closed"][0], "dr-x------");
    assert_eq!(expected[2]["/home/user/gone"], json!(null));
    assert_eq!(expected[2]["/home/user/replaced"][4], "6e6577");
    assert_eq!((&expected[5], &expected[6]), (&json!([500, 600]), &json!([4 << 20, 64 << 20])));
    for _ in 0..2 {
        let mut attached = place.attach(&template, &program);
        assert_eq!(ask(&mut attached.sandbox, &json!("look()")), expected);
    }
}

const LOCKED: &str = r#"
import fcntl, mmap, struct
files = {name: open(f"/tmp/{name}", "w+b") for name in ("whole", "process", "open")}
for file in files.values():
    file.write(bytes(8192))
    file.flush()
# Mapped, too: the mapping is made by another descriptor, whose end must not give the locks up.
mapped = mmap.mmap(files["process"].fileno(), 8192)
fcntl.flock(files["whole"], fcntl.LOCK_EX)
fcntl.lockf(files["process"], fcntl.LOCK_EX, 10, 100)
fcntl.lockf(files["process"], fcntl.LOCK_SH, 0, 4000)
fcntl.fcntl(files["open"], 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 5, 6, 0))

def look():
    # What another process and another open file would wait for.
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        found = []
        for name, kinds in (("process", ((fcntl.F_GETLK, 100), (fcntl.F_GETLK, 4000), (fcntl.F_GETLK, 50))), ("open", ((36, 5), (36, 11)))):
            with open(f"/tmp/{name}", "r+b") as file:
                for command, start in kinds:
                    answer = fcntl.fcntl(file, command, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, start, 1, 0))
                    kind, _, first, length, _ = struct.unpack("hhqqi4x", answer)
                    found.append([kind, first, length] if kind != fcntl.F_UNLCK else None)
        with open("/tmp/whole", "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                found.append("free")
            except BlockingIOError:
                found.append("held")
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    found = json.loads(os.read(reader, 4000))
    os.close(reader); os.close(writer)
    return found
"#;

#[test]
fn locks_of_files_are_held_by_copies() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let program = place.script("locks.py", &serving(LOCKED));
    let mut original = place.start(&program);
    let template = place.capture(&original, "locks").unwrap();
    let (read, write) = (libc::F_RDLCK, libc::F_WRLCK);
    let expected = json!([[write, 100, 10], [read, 4000, 0], null, [write, 5, 6], null, "held"]);
    assert_eq!(ask(&mut original, &json!("look()")), expected);
    for _ in 0..2 {
        let mut attached = place.attach(&template, &program);
        assert_eq!(ask(&mut attached.sandbox, &json!("look()")), expected);
    }
}
