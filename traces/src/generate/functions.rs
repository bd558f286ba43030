//! The eleven functions of TrEnv's evaluation, their copies and their declared memory.
//!
//! Source: the SOSP'24 artifact (`switch-container/utils`, `stack.yml`). The declared limits are
//! Kubernetes-style "Mi" amounts there, so they are MiB here.

use crate::size::Bytes;
use crate::workload::Function;

/// Declared memory in MiB of a function and of its copies `_1` and `_2`, in the order in which
/// workloads W1 and W2 visit the functions.
const MEMORY_MIB: [(&str, [u64; 3]); 11] = [
    ("chameleon", [300, 300, 400]),
    ("pyaes", [64, 200, 128]),
    ("dynamic-html", [64, 128, 148]),
    ("image-processing", [224, 300, 300]),
    ("image-recognition", [768, 888, 800]),
    ("video-processing", [224, 300, 300]),
    ("crypto", [84, 192, 170]),
    ("image-flip-rotate", [560, 650, 624]),
    ("json-serde", [100, 116, 132]),
    ("js-json-serde", [100, 96, 128]),
    ("pagerank", [280, 250, 300]),
];

/// Names of the eleven functions, in the order in which W1 and W2 visit them.
pub const NAMES: [&str; 11] = {
    let mut names = [""; 11];
    let mut i = 0;
    while i < 11 {
        names[i] = MEMORY_MIB[i].0;
        i += 1;
    }
    names
};

/// The tenant of all of them: the paper shares sandboxes within one user only, and evaluates one.
pub const TENANT: &str = "trenv";

/// Function `base` (copy 0), or its copy `_1` or `_2`; `None` for a name that is not one of the
/// eleven. The profile is that of `base`: the copies run the same code on other inputs.
pub fn function(base: &str, copy: usize) -> Option<Function> {
    let (_, memory) = MEMORY_MIB.iter().find(|(name, _)| *name == base)?;
    Some(Function {
        name: copy_name(base, copy),
        tenant: TENANT.to_owned(),
        profile: Some(base.to_owned()),
        memory: Some(Bytes::from_mib(*memory.get(copy)?)),
    })
}

/// `pyaes`, `pyaes_1`, `pyaes_2`.
pub(crate) fn copy_name(base: &str, copy: usize) -> String {
    if copy == 0 { base.to_owned() } else { format!("{base}_{copy}") }
}
