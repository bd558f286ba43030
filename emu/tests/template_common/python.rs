//! A function in Python whose requests are Python: what is asked is evaluated where the script has put its things.

/// Put before a script: the protocol.
pub const SERVE: &str = r#"
import ctypes, json, os, sys, time, traceback
libc = ctypes.CDLL(None, use_errno=True)

def serve(names):
    os.write(1, b'{"ready":true,"function":"script","pid":1,"threads":1}\n')
    rest = b""
    while piece := os.read(0, 65536):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            request = json.loads(line)
            try:
                answer = {"id": request["id"], "ok": True, "output": eval(request["input"], names)}
            except Exception:
                answer = {"id": request["id"], "ok": False, "error": traceback.format_exc()}
            data = json.dumps(answer).encode() + b"\n"
            while data:
                data = data[os.write(1, data):]
"#;

/// A script that serves.
pub fn serving(script: &str) -> String {
    format!("{SERVE}\n{script}\nserve(globals())\n")
}
