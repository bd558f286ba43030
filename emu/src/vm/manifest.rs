//! What is known of a template, and whether it fits here.

use serde::{Deserialize, Serialize};

use super::{Accelerator, Image, Machine};

/// Version of the folder's format, and of the machine that states of devices are for.
pub(super) const FORMAT: u32 = 2;

/// `manifest.json` of a template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// Name.
    pub name: String,
    /// What the guest consists of.
    pub machine: Machine,
    /// Type of the machine with its version; clones have the same.
    pub kind: String,
    /// The VMM, as it tells its version.
    pub vmm: String,
    /// What ran the guest: `kvm` or `tcg`.
    pub accelerator: String,
    /// Recipe of the image that it was booted from.
    pub image: String,
    /// The guest's kernel.
    pub kernel: String,
    /// Version of the agent's runtime.
    pub python: String,
    /// Python that was run to warm the agent up.
    pub warm: String,
    /// BLAKE3 of the memory's contents: pages that are not zero and their places.
    pub memory_blake3: String,
    /// Memory in pages that are not zero, bytes.
    pub memory_data_bytes: u64,
    /// BLAKE3 of the state of the devices.
    pub state_blake3: String,
    /// Its size, bytes.
    pub state_bytes: u64,
    /// From the call to the first reply of the booted guest, milliseconds.
    pub boot_ms: f64,
    /// Resident memory of the booted guest after that reply, bytes.
    pub booted_bytes: u64,
    /// From the call until the state was kept, milliseconds.
    pub made_ms: f64,
}

impl Manifest {
    /// Why it cannot be cloned here.
    ///
    /// # Errors
    /// The reason.
    pub(super) fn fits(&self, image: &Image, accelerator: &Accelerator, vmm: &str) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("its format is {}, and this version reads {FORMAT}", self.format));
        }
        if self.image != image.about.recipe {
            return Err(format!(
                "it was booted from image {} (Linux {}), and here is {} (Linux {})",
                self.image, self.kernel, image.about.recipe, image.about.kernel_version
            ));
        }
        if self.vmm != vmm {
            return Err(format!("it was made by QEMU {}, and here is {vmm}", self.vmm));
        }
        if self.accelerator != accelerator.name() {
            return Err(format!("it ran on {}, and here is {}", self.accelerator, accelerator.name()));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::vm::RootDevice;
    use crate::vm::image::About;

    pub(in crate::vm) fn image() -> Image {
        let about = About {
            recipe: "abc".into(),
            kernel_version: "6.1".into(),
            data_file: "/srv/data.bin".into(),
            data_bytes: 1,
            data_at: 0,
            kernel_sha256: String::new(),
            initramfs_sha256: String::new(),
            root_sha256: String::new(),
        };
        Image { folder: "/nowhere/vm".into(), about }
    }

    pub(in crate::vm) fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            name: "t".into(),
            machine: Machine::new(256, RootDevice::Pmem),
            kind: "pc-q35-7.2".into(),
            vmm: "7.2.22".into(),
            accelerator: "tcg".into(),
            image: "abc".into(),
            kernel: "6.1".into(),
            python: "3.11.2".into(),
            warm: String::new(),
            memory_blake3: String::new(),
            memory_data_bytes: 0,
            state_blake3: String::new(),
            state_bytes: 0,
            boot_ms: 0.0,
            booted_bytes: 0,
            made_ms: 0.0,
        }
    }

    #[test]
    fn foreign_templates_are_refused_with_the_reason() {
        let tcg = Accelerator::Tcg { why: "a test".into() };
        let why = |manifest: &Manifest, vmm: &str| manifest.fits(&image(), &tcg, vmm).unwrap_err();
        assert_eq!(manifest().fits(&image(), &tcg, "7.2.22"), Ok(()));
        assert!(why(&manifest(), "8.0").contains("made by QEMU 7.2.22"));
        let other = Manifest { image: "abd".into(), ..manifest() };
        assert!(why(&other, "7.2.22").contains("booted from image abd"));
        let later = Manifest { format: 9, ..manifest() };
        assert!(why(&later, "7.2.22").contains("format is 9"));
        let faster = Manifest { accelerator: "kvm".into(), ..manifest() };
        assert!(why(&faster, "7.2.22").contains("ran on kvm"));
    }
}
