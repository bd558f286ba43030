//! Memory templates: the state of a real process, captured once and attached many times without copying.

pub mod pages;
