//! Actions.

use super::Action;

pub(super) const ACTIONS: &[(&str, Action)] = &[];
