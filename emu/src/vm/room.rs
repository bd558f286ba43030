//! Whether this machine has the memory for what is to be started: to be told so beats being killed half-way.

use super::Error;

/// Whether so much memory is available for `what`.
///
/// # Errors
/// [`Error::NoRoom`] with both numbers.
pub(crate) fn need(mib: u64, what: &str) -> Result<(), Error> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(Error::at("read /proc/meminfo"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    enough(mib, kib.map(|kib| kib >> 10), what)
}

/// A machine that does not tell is taken to have enough.
fn enough(needs_mib: u64, has_mib: Option<u64>, what: &str) -> Result<(), Error> {
    match has_mib {
        Some(has_mib) if has_mib < needs_mib => {
            Err(Error::NoRoom { what: what.to_owned(), needs_mib, has_mib })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_is_told_with_both_numbers() {
        assert!(enough(2048, Some(4096), "a guest").is_ok() && enough(2048, None, "a guest").is_ok());
        let error = enough(2048, Some(1024), "a guest of 2048 MiB").unwrap_err().to_string();
        assert!(
            error.contains("a guest of 2048 MiB") && error.contains("2048 MiB") && error.contains("1024"),
            "{error}"
        );
    }
}
