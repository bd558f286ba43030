//! Recorded inputs through a fresh control plane: the same commands, or the first that differ.

use platform::control::{ControlConfig, ControlPlane};
use platform::records::Decision;

/// A decision that came out otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("decision {number} differs: recorded {recorded:?}, now {now:?}")]
pub struct Differs {
    /// Which, from 0.
    pub number: usize,
    /// As recorded.
    pub recorded: Decision,
    /// As it comes out now.
    pub now: Decision,
}

/// Gives the inputs to a control plane built from `config`.
///
/// # Errors
/// The first decision that differs.
pub fn replay(config: ControlConfig, decisions: &[Decision]) -> Result<(), Box<Differs>> {
    let mut plane = ControlPlane::new(config);
    for (number, recorded) in decisions.iter().enumerate() {
        let mut commands = Vec::new();
        plane.handle(recorded.at, recorded.input, &mut commands);
        if commands != recorded.commands {
            let now = Decision { commands, ..recorded.clone() };
            return Err(Box::new(Differs { number, recorded: recorded.clone(), now }));
        }
    }
    Ok(())
}
