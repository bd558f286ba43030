//! Makes a persistent region of a CXL memory device, through the files of the CXL bus in sysfs.
//!
//! A region joins a window of the host's address space (a root decoder) with memory of a device (an endpoint
//! decoder). This makes the simplest one: one device, no interleaving, all of its persistent memory. The order of
//! the steps is the kernel's (`Documentation/ABI/testing/sysfs-bus-cxl`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long the driver of a device's persistent memory may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bus.
pub const BUS: &str = "/sys/bus/cxl";

/// Why there is no region.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// No device has persistent memory left.
    #[error("no CXL device with free persistent memory in {0}")]
    NoDevice(PathBuf),
    /// No window of the address space is left.
    #[error("no window for persistent CXL memory in {0} (no root decoder with cap_pmem)")]
    NoWindow(PathBuf),
    /// A device has no decoder that is free.
    #[error("device {0} has no free decoder")]
    NoDecoder(String),
    /// The kernel has no driver for the device's persistent memory yet.
    #[error("the persistent memory of {0} has no driver after {PATIENCE:?}: is the module cxl_pmem loaded?")]
    NotReady(String),
    /// A step failed.
    #[error("cannot {step}: {path}: {why}", path = .path.display())]
    Step {
        /// What was being done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name on the bus, which its namespace bus uses too: `region0`.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// The persistent region that there is, or one that is made now; `before` is done before it is made. Windows are
/// tried in turn: only the kernel knows which of them lead to the device and are large enough.
///
/// # Errors
/// If there is no device, or a step fails in every window; a region that was begun is deleted.
pub fn ensure(bus: &Path, before: impl FnOnce()) -> Result<Region, RegionError> {
    let devices = bus.join("devices");
    let mut names = list(&devices);
    names.sort();
    for name in names.iter().filter(|name| name.starts_with("region")) {
        let size = number(&devices.join(name).join("size"));
        // Volatile ones are system memory. Kernels before 6.3 do not say, and have persistent ones only.
        let mode = fs::read_to_string(devices.join(name).join("mode"));
        if mode.is_ok_and(|mode| mode.trim() != "pmem") {
            continue;
        }
        // One that is bound to the driver is in use; one that is not was left by somebody who did not finish.
        if let Some(size) = size.filter(|size| *size > 0)
            && devices.join(name).join("driver").exists()
        {
            return Ok(Region { name: name.clone(), size });
        }
    }
    let memory = names
        .iter()
        .filter(|name| name.starts_with("mem"))
        .filter_map(|name| Some((name, number(&devices.join(name).join("pmem/size"))?)))
        .find(|(_, size)| *size > 0)
        .ok_or_else(|| RegionError::NoDevice(devices.clone()))?;
    let mut windows = names.iter().filter(|name| {
        let decoder = devices.join(name);
        name.starts_with("decoder")
            && decoder.join("create_pmem_region").exists()
            && number(&decoder.join("cap_pmem")) == Some(1)
    });
    let first = windows.next().ok_or_else(|| RegionError::NoWindow(devices.clone()))?;
    let decoder = free_decoder(&devices, &names, memory.0)?;
    wait_for_driver(&devices, memory.0)?;
    before();
    let make = |window: &String| make(bus, window, memory.0, &decoder, memory.1);
    // What is told is why the first did not do.
    make(first).or_else(|error| windows.find_map(|window| make(window).ok()).ok_or(error))
}

/// Waits until the persistent memory of a device (`pmem0` of `mem0`) has its driver, which takes a moment after the start of
/// the machine. A region that is handed over before makes kernels of the 6.1 series fail, with a lock held for good.
fn wait_for_driver(devices: &Path, memory: &str) -> Result<(), RegionError> {
    let driver = devices.join(memory.replace("mem", "pmem")).join("driver");
    let until = Instant::now() + PATIENCE;
    while !driver.exists() {
        if Instant::now() > until {
            return Err(RegionError::NotReady(memory.to_owned()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// An endpoint decoder of `memory` that maps nothing yet.
fn free_decoder(devices: &Path, names: &[String], memory: &str) -> Result<String, RegionError> {
    // `endpointN/uport` leads to the device; its decoders are `decoderN.M`.
    let endpoint = names
        .iter()
        .filter_map(|name| name.strip_prefix("endpoint").map(|number| (name, number)))
        .find(|(name, _)| {
            let link = fs::read_link(devices.join(name).join("uport"));
            link.is_ok_and(|link| link.file_name().is_some_and(|last| last == memory))
        });
    endpoint
        .and_then(|(_, number)| {
            names
                .iter()
                .filter(|name| name.starts_with(&format!("decoder{number}.")))
                .find(|name| self::number(&devices.join(name).join("dpa_size")) == Some(0))
        })
        .cloned()
        .ok_or_else(|| RegionError::NoDecoder(memory.to_owned()))
}

fn make(bus: &Path, root: &str, memory: &str, decoder: &str, size: u64) -> Result<Region, RegionError> {
    let devices = bus.join("devices");
    let (root, decoder_path) = (devices.join(root), devices.join(decoder));
    let create = root.join("create_pmem_region");
    let at = |step: &'static str, path: &Path| {
        let path = path.to_owned();
        move |why| RegionError::Step { step, path, why }
    };
    let name = fs::read_to_string(&create).map_err(at("ask for a region", &create))?.trim().to_owned();
    let granularity = number(&root.join("interleave_granularity")).unwrap_or(256);
    fs::write(&create, &name).map_err(at("begin a region", &create))?;

    let region = devices.join(&name);
    let size_text = format!("{size:#x}");
    let steps = [
        ("set the region's granularity", region.join("interleave_granularity"), granularity.to_string()),
        ("set the region's ways", region.join("interleave_ways"), "1".to_owned()),
        ("name the region", region.join("uuid"), uuid(memory, &devices)),
        ("make the decoder persistent", decoder_path.join("mode"), "pmem".to_owned()),
        ("give the decoder its memory", decoder_path.join("dpa_size"), size_text.clone()),
        ("set the region's size", region.join("size"), size_text),
        ("join decoder and region", region.join("target0"), decoder.to_owned()),
        ("commit the region", region.join("commit"), "1".to_owned()),
        ("hand the region to its driver", bus.join("drivers/cxl_region/bind"), name.clone()),
    ];
    for (step, path, text) in steps {
        // The kernel takes a uuid only with an end of line.
        if let Err(error) = fs::write(&path, text + "\n") {
            let _ = fs::write(root.join("delete_region"), &name);
            let _ = fs::write(decoder_path.join("dpa_size"), "0");
            return Err(at(step, &path)(error));
        }
    }
    Ok(Region { name, size })
}

/// A name for the region that is the same each time, for a device that keeps its namespaces.
fn uuid(memory: &str, devices: &Path) -> String {
    let serial = fs::read_to_string(devices.join(memory).join("serial")).unwrap_or_default();
    let hash = blake3::hash(format!("trenvx region of {}", serial.trim()).as_bytes());
    let mut bytes: [u8; 16] = hash.as_bytes()[..16].try_into().expect("half of 32 bytes");
    // Version 8 (own scheme) and the variant of RFC 9562.
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        hex[..4].concat(),
        hex[4..6].concat(),
        hex[6..8].concat(),
        hex[8..10].concat(),
        hex[10..].concat()
    )
}

fn list(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A number in a file, decimal or hexadecimal.
fn number(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bus as the kernel shows it, made of plain files.
    fn bus(size: &str) -> tempfile::TempDir {
        let bus = tempfile::tempdir().unwrap();
        let files = [
            ("devices/decoder0.0/create_pmem_region", "region0"),
            ("devices/decoder0.0/cap_pmem", "1"),
            ("devices/decoder0.0/interleave_granularity", "256"),
            ("devices/decoder0.0/delete_region", ""),
            ("devices/decoder1.0/size", "0x0"),
            ("devices/decoder2.0/dpa_size", "0x0000000000000000"),
            ("devices/decoder2.0/mode", "none"),
            ("devices/mem0/pmem/size", size),
            ("devices/mem0/serial", "0x0"),
            ("devices/pmem0/driver/uevent", ""),
            ("devices/region0/commit", ""),
            ("drivers/cxl_region/bind", ""),
        ];
        for (name, text) in files {
            let path = bus.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir(bus.path().join("devices/endpoint2")).unwrap();
        std::os::unix::fs::symlink("../mem0", bus.path().join("devices/endpoint2/uport")).unwrap();
        bus
    }

    fn read(bus: &tempfile::TempDir, name: &str) -> String {
        fs::read_to_string(bus.path().join(name)).unwrap().trim().to_owned()
    }

    #[test]
    fn a_region_takes_all_of_a_device_through_its_own_decoder() {
        let bus = bus("0x40000000");
        let region = ensure(bus.path(), || ()).unwrap();
        assert_eq!(region, Region { name: "region0".into(), size: 1 << 30 });
        assert_eq!(read(&bus, "devices/region0/target0"), "decoder2.0");
        assert_eq!(read(&bus, "devices/region0/size"), "0x40000000");
        assert_eq!(read(&bus, "devices/decoder2.0/mode"), "pmem");
        assert_eq!(read(&bus, "drivers/cxl_region/bind"), "region0");
        assert_eq!(read(&bus, "devices/region0/uuid").len(), 36);
    }

    #[test]
    fn a_region_of_system_memory_is_left_alone() {
        let bus = bus("0x40000000");
        for (name, text) in [("size", "0x10000000"), ("mode", "ram"), ("driver/name", "")] {
            let path = bus.path().join("devices/region7").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(ensure(bus.path(), || ()).unwrap().name, "region0");
        fs::write(bus.path().join("devices/region7/mode"), "pmem\n").unwrap();
        assert_eq!(ensure(bus.path(), || ()).unwrap().name, "region7");
    }

    #[test]
    fn a_window_that_does_not_lead_to_the_device_is_passed_over() {
        let bus = bus("0x40000000");
        // The kernel refuses to join a decoder to the region of the first window.
        fs::create_dir(bus.path().join("devices/region0/target0")).unwrap();
        for (name, text) in [
            ("decoder0.1/create_pmem_region", "region1"),
            ("decoder0.1/cap_pmem", "1"),
            ("region1/commit", ""),
        ] {
            let path = bus.path().join("devices").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(ensure(bus.path(), || ()).unwrap().name, "region1");
        assert_eq!(read(&bus, "devices/decoder0.0/delete_region"), "region0");
        assert_eq!(read(&bus, "devices/region1/target0"), "decoder2.0");
    }

    #[test]
    fn without_memory_or_window_there_is_a_reason() {
        assert!(matches!(ensure(bus("0x0").path(), || ()), Err(RegionError::NoDevice(_))));
        let without = bus("0x40000000");
        fs::write(without.path().join("devices/decoder0.0/cap_pmem"), "0").unwrap();
        assert!(matches!(ensure(without.path(), || ()), Err(RegionError::NoWindow(_))));
    }

    #[test]
    fn a_step_that_fails_is_named_and_undone() {
        let bus = bus("0x40000000");
        // A folder cannot be written to.
        fs::create_dir(bus.path().join("devices/region0/target0")).unwrap();
        let error = ensure(bus.path(), || ()).unwrap_err();
        assert!(error.to_string().starts_with("cannot join decoder and region"), "{error}");
        assert_eq!(read(&bus, "devices/decoder0.0/delete_region"), "region0");
        assert_eq!(read(&bus, "devices/decoder2.0/dpa_size"), "0");
    }
}
