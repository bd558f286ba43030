//! House style: what a system looks like in every figure.
//!
//! Colours are those of Okabe and Ito, told apart by readers who see few colours; every series also
//! has a dash and a marker, so that a figure copied in grey still reads.

/// Red, green, blue.
pub type Colour = (u8, u8, u8);

/// Text and axes.
pub const INK: Colour = (0x22, 0x22, 0x22);
/// Less important text, tick marks.
pub const SOFT: Colour = (0x55, 0x55, 0x55);
/// Grid lines.
pub const GRID: Colour = (0xE2, 0xE2, 0xE2);
/// Shaded areas.
pub const SHADE: Colour = (0xF1, 0xF1, 0xF1);
/// Notes that say what is missing.
pub const ALERT: Colour = (0xA0, 0x30, 0x00);
/// Paper.
pub const WHITE: Colour = (0xFF, 0xFF, 0xFF);

const BLACK: Colour = (0x00, 0x00, 0x00);
const ORANGE: Colour = (0xE6, 0x9F, 0x00);
const SKY: Colour = (0x56, 0xB4, 0xE9);
const GREEN: Colour = (0x00, 0x9E, 0x73);
const BLUE: Colour = (0x00, 0x72, 0xB2);
const VERMILION: Colour = (0xD5, 0x5E, 0x00);
const PURPLE: Colour = (0xCC, 0x79, 0xA7);
const GREY: Colour = (0x80, 0x80, 0x80);

/// Size of axis titles, names and legends in pixels: 8.25 points.
pub const TEXT: f64 = 11.0;
/// Size of tick labels and notes in pixels: 7.5 points.
pub const SMALL: f64 = 10.0;
/// Width of a figure of one column in pixels (3.5 inches).
pub const SINGLE: f64 = 340.0;
/// Width of a figure of two columns in pixels (7.1 inches).
pub const DOUBLE: f64 = 680.0;

/// Shape of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// ●
    Circle,
    /// ■
    Square,
    /// ▲
    Up,
    /// ▼
    Down,
    /// ◆
    Diamond,
    /// ✕
    Cross,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeriesStyle {
    /// Lines, points and bars.
    pub colour: Colour,
    /// Lines.
    pub dash: Dash,
    /// Points.
    pub marker: Marker,
}

/// How a line is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dash {
    /// Not at all.
    Solid,
    /// Long dashes.
    Dashed,
    /// Dots.
    Dotted,
    /// A dash, a dot.
    DashDot,
    /// Short dashes.
    Short,
}

use Dash::{DashDot, Dashed, Dotted, Short, Solid};
const DASHES: [Dash; 5] = [Dashed, Dotted, DashDot, Short, Solid];
const COLOURS: [Colour; 7] = [BLUE, ORANGE, GREEN, PURPLE, SKY, GREY, VERMILION];
const MARKERS: [Marker; 6] =
    [Marker::Down, Marker::Cross, Marker::Diamond, Marker::Square, Marker::Up, Marker::Circle];

/// The fixed looks, also the order in which systems are shown.
#[rustfmt::skip]
const SYSTEMS: [(&str, Colour, Dash, Marker); 21] = [
    ("faasd",                 BLACK,     Dotted,   Marker::Circle),
    ("criu",                  PURPLE,    Dashed,   Marker::Square),
    ("criu-lazy",             GREY,      DashDot,  Marker::Down),
    ("reap+",                 ORANGE,    DashDot,  Marker::Up),
    ("faasnap+",              SKY,       Short,    Marker::Diamond),
    ("vanilla-ch",            BLACK,     Dotted,   Marker::Circle),
    ("e2b",                   ORANGE,    DashDot,  Marker::Up),
    ("e2b+",                  SKY,       Short,    Marker::Diamond),
    ("sock",                  GREY,      Short,    Marker::Cross),
    ("rainbowcake",           PURPLE,    DashDot,  Marker::Cross),
    ("mitosis",               GREEN,     Dotted,   Marker::Up),
    ("t-reuse-only",          SKY,       Dashed,   Marker::Up),
    ("t-reuse+cgroup",        GREEN,     Short,    Marker::Square),
    ("t-rdma",                BLUE,      Dashed,   Marker::Down),
    ("t-rdma-prefetch",       ORANGE,    Dashed,   Marker::Diamond),
    ("t-tiered",              GREEN,     Short,    Marker::Square),
    ("t-cxl",                 VERMILION, Solid,    Marker::Circle),
    ("trenvx-vm-guest-cache", PURPLE,    Dashed,   Marker::Square),
    ("trenvx-vm-own-browser", GREEN,     Short,    Marker::Down),
    ("trenvx-vm",             VERMILION, Solid,    Marker::Circle),
    ("ideal",                 GREY,      Dotted,   Marker::Diamond),
];

/// The look of a system: from the table, or for other names from the name alone, so that a system
/// looks the same in every figure.
pub fn of(system: &str) -> SeriesStyle {
    if let Some(&(_, colour, dash, marker)) = SYSTEMS.iter().find(|(name, ..)| *name == system) {
        return SeriesStyle { colour, dash, marker };
    }
    let hash = fnv(system);
    let pick = |shift: u32, among: usize| ((hash >> shift) % among as u64) as usize;
    SeriesStyle {
        colour: COLOURS[pick(0, COLOURS.len())],
        dash: DASHES[pick(16, DASHES.len())],
        marker: MARKERS[pick(32, MARKERS.len())],
    }
}

/// Place of a system in legends and rows: rivals first, then what is studied; unknown names last.
pub fn rank(system: &str) -> usize {
    SYSTEMS.iter().position(|(name, ..)| *name == system).unwrap_or(SYSTEMS.len())
}

/// Fills of stacked parts, from dark to light so that they read in grey.
pub const PARTS: [Colour; 5] = [(0x33, 0x33, 0x33), BLUE, ORANGE, (0xDD, 0xDD, 0xDD), (0xF7, 0xF7, 0xF7)];

/// Fills where a whole has many parts; the last is for what is left.
pub const MANY_PARTS: [Colour; 8] =
    [(0x33, 0x33, 0x33), BLUE, ORANGE, GREEN, SKY, PURPLE, (0xDD, 0xDD, 0xDD), (0xF7, 0xF7, 0xF7)];

/// The look of the `n`-th of several lines that are no systems.
pub fn nth(n: usize) -> SeriesStyle {
    const ORDER: [Colour; 8] = [BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK, GREY];
    const TURN: [Dash; 5] = [Solid, Dashed, DashDot, Short, Dotted];
    SeriesStyle {
        colour: ORDER[n % ORDER.len()],
        dash: TURN[n % TURN.len()],
        marker: MARKERS[(n + 5) % MARKERS.len()],
    }
}

/// Whether text on a fill must be white to be read.
pub fn is_dark((r, g, b): Colour) -> bool {
    0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b) < 140.0
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_that_share_a_figure_do_not_share_a_look() {
        let figures: [&[&str]; 5] = [
            &["t-rdma", "t-rdma-prefetch", "t-tiered", "t-cxl"],
            &["faasd", "criu", "criu-lazy", "reap+", "faasnap+", "t-cxl", "t-rdma", "t-tiered"],
            &["faasd", "criu", "t-reuse-only", "t-reuse+cgroup", "t-cxl"],
            &["vanilla-ch", "e2b", "e2b+", "trenvx-vm", "trenvx-vm-guest-cache", "trenvx-vm-own-browser"],
            &["criu", "sock", "rainbowcake", "mitosis", "t-cxl", "t-rdma", "ideal"],
        ];
        for systems in figures {
            let mut looks: Vec<_> =
                systems.iter().map(|s| format!("{:?} {:?}", of(s).colour, of(s).dash)).collect();
            let colours_and_dashes = looks.len();
            looks.sort_unstable();
            looks.dedup();
            assert_eq!(looks.len(), colours_and_dashes, "{systems:?}");
        }
    }

    #[test]
    fn an_unknown_system_looks_the_same_every_time() {
        assert_eq!(of("my-policy"), of("my-policy"));
    }
}
