//! One's own cgroup, changed and looked at: only a function that may mount comes to it.

use std::ffi::CStr;
use std::fs;

use serde_json::{Value, json};

use super::{done, name_of};

const PLACE: &CStr = c"/run";
/// A setting of the memory controller in each version, and a value that no sandbox has.
const SETTINGS: [(&str, &str); 2] = [("memory.swappiness", "7"), ("memory.high", "77004800")];
const INSIDE: &str = "inside";

/// Mounts the hierarchy of the memory controller, whatever version has it; its root is our own group.
fn mounted() -> Result<(&'static str, &'static str), String> {
    for ((kind, options), setting) in [(c"cgroup", c"memory"), (c"cgroup2", c"")].into_iter().zip(SETTINGS) {
        // SAFETY: strings end with a zero.
        let result = done(i64::from(unsafe {
            libc::mount(kind.as_ptr(), PLACE.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast())
        }));
        if result.is_ok() {
            return Ok(setting);
        }
    }
    Err(super::last_errno())
}

fn at(name: &str) -> String {
    format!("{}/{name}", PLACE.to_string_lossy())
}

fn io<T>(result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| name_of(error.raw_os_error().unwrap_or(0)))
}

pub(super) fn set() -> Result<Value, String> {
    let (file, value) = mounted()?;
    io(fs::write(at(file), value))?;
    Ok(json!("done"))
}

pub(super) fn make_inside() -> Result<Value, String> {
    mounted()?;
    io(fs::create_dir(at(INSIDE)))?;
    Ok(json!("done"))
}

pub(super) fn look() -> Result<Value, String> {
    let (file, _) = mounted()?;
    let setting = io(fs::read_to_string(at(file)))?;
    Ok(json!({ "setting": setting.trim(), "inside": fs::exists(at(INSIDE)).unwrap_or(false) }))
}
