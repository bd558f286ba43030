//! Scales, ticks and axes.

use super::canvas::{Anchor, Canvas, Lettering, Rect, Stroke, width_of};
use super::style::{GRID, INK, SMALL, SOFT, TEXT};
use crate::files::number;
use crate::metric::{self, Metric};

/// A mapping from values to 0..=1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Proportional.
    Linear {
        /// Value at 0.
        min: f64,
        /// Value at 1.
        max: f64,
    },
    /// Logarithmic; values at or below `min` lie at 0.
    Log {
        /// Value at 0; positive.
        min: f64,
        /// Value at 1.
        max: f64,
    },
}

impl Scale {
    /// Linear from 0 to at least the largest value, ending on a round number.
    pub fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let max = values.filter(|v| v.is_finite()).fold(0.0, f64::max);
        let max = if max > 0.0 { max } else { 1.0 };
        let step = round_step(max * 1.02 / 8.0);
        Self::Linear { min: 0.0, max: (max * 1.02 / step).ceil() * step }
    }

    /// Logarithmic over all positive values, both ends at 1, 2 or 5 times a power of ten.
    pub fn log_over(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|v| v.is_finite() && *v > 0.0)
            .fold((f64::INFINITY, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
        if high == 0.0 {
            return Self::Log { min: 1.0, max: 10.0 };
        }
        let (min, max) = (step_below(low * 0.97), round_step(high * 1.03));
        if max / min < 4.9 {
            // Always room for at least two labelled ticks.
            return Self::Log { min: step_below(min * 0.99), max: round_step(max * 1.01) };
        }
        Self::Log { min, max }
    }

    /// Place of a value, 0 to 1; outside values are moved to the nearer end.
    pub fn place(&self, value: f64) -> f64 {
        let at = match *self {
            Self::Linear { min, max } => (value - min) / (max - min),
            Self::Log { min, max } if value > min => (value / min).ln() / (max / min).ln(),
            Self::Log { .. } => 0.0,
        };
        if at.is_finite() { at.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Pixel of a value along the width of a box.
    pub fn x(&self, value: f64, rect: Rect) -> f64 {
        rect.x + self.place(value) * rect.w
    }

    /// Pixel of a value along the height of a box, upwards.
    pub fn y(&self, value: f64, rect: Rect) -> f64 {
        rect.bottom() - self.place(value) * rect.h
    }

    /// Round values on the scale, about as many as `room` allows.
    fn ticks(&self, room: usize) -> Vec<f64> {
        match *self {
            Self::Linear { min, max } => {
                let step = round_step((max - min) / room.max(1) as f64);
                let steps = ((max - min) / step * (1.0 + 1e-9)).floor() as usize;
                (0..=steps).map(|i| min + i as f64 * step).collect()
            }
            Self::Log { min, max } => [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]]
                .into_iter()
                .map(|multiples| steps_between(min, max, multiples))
                .find(|ticks| (2..=room.max(2)).contains(&ticks.len()))
                .unwrap_or_else(|| every_other(&steps_between(min, max, &[1.0]), room, (min, max))),
        }
    }
}

/// The smallest 1, 2 or 5 × 10ⁿ that is not below a value.
fn round_step(value: f64) -> f64 {
    let power = 10f64.powi(value.log10().floor() as i32);
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|step| *step >= value * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// The largest 1, 2 or 5 × 10ⁿ that is not above a value.
fn step_below(value: f64) -> f64 {
    let power = 10f64.powi(value.log10().floor() as i32);
    [5.0, 2.0, 1.0].into_iter().map(|m| m * power).find(|step| *step <= value * (1.0 + 1e-9)).unwrap_or(power)
}

fn steps_between(min: f64, max: f64, multiples: &[f64]) -> Vec<f64> {
    let (first, last) = (min.log10().floor() as i32, max.log10().ceil() as i32);
    (first..=last)
        .flat_map(|e| multiples.iter().map(move |m| m * 10f64.powi(e)))
        .filter(|v| *v >= min * (1.0 - 1e-9) && *v <= max * (1.0 + 1e-9))
        .collect()
}

/// Some of many decades, as many as there is room for; both ends where there is no decade between.
fn every_other(decades: &[f64], room: usize, ends: (f64, f64)) -> Vec<f64> {
    match decades.len() {
        0 | 1 => vec![ends.0, ends.1],
        n => decades.iter().copied().step_by(n.div_ceil(room.max(1))).collect(),
    }
}

/// A latency in milliseconds with the unit that makes it short.
pub fn latency(ms: f64) -> String {
    match ms {
        _ if ms >= 999.5 => format!("{} s", short(ms / 1e3)),
        _ if ms < 0.9995 && ms > 0.0 => format!("{} µs", short(ms * 1e3)),
        _ => format!("{} ms", short(ms)),
    }
}

/// A number with about three digits.
pub fn short(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A value beside its bar: three digits, zeros kept.
pub fn three_digits(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A tick label of a plain number.
pub fn plain(value: f64) -> String {
    number((value * 1e9).round() / 1e9)
}

/// A share of one in percent.
pub fn percent(share: f64) -> String {
    format!("{} %", short(share * 100.0))
}

/// How ticks of a metric are labelled.
pub fn ticks_of(metric: Metric) -> fn(f64) -> String {
    match metric::unit(metric) {
        "ms" => latency,
        "share" => percent,
        _ => large,
    }
}

/// How a value of a metric is written beside its bar.
pub fn value_of(metric: Metric) -> fn(f64) -> String {
    match metric::unit(metric) {
        "ms" => latency,
        "share" => percent,
        "invocations" | "times" => large,
        _ => three_digits,
    }
}

/// A plain number; from ten thousand on with k, M or G.
pub fn large(value: f64) -> String {
    match value.abs() {
        v if v >= 1e9 => format!("{}G", short(value / 1e9)),
        v if v >= 1e6 => format!("{}M", short(value / 1e6)),
        v if v >= 1e4 => format!("{}k", short(value / 1e3)),
        v if v >= 100.0 => format!("{value:.0}"),
        _ => plain(value),
    }
}

/// A mark on an axis below a box, at a value of its own.
pub struct Mark {
    /// Where.
    pub at: f64,
    /// What it says.
    pub text: String,
}

/// The axis below a box with marks at given values; labels that would touch are left out.
pub fn below_at(canvas: &mut Canvas<'_>, rect: Rect, scale: Scale, marks: &[Mark], title: &str) {
    let mut free_from = f64::NEG_INFINITY;
    for mark in marks {
        let x = scale.x(mark.at, rect);
        canvas.line(&[(x, rect.y), (x, rect.bottom())], Stroke::solid(GRID, 0.6));
        canvas.line(&[(x, rect.bottom()), (x, rect.bottom() + 3.0)], Stroke::solid(SOFT, 0.7));
        let half = width_of(&mark.text, SMALL) / 2.0;
        if x - half > free_from {
            canvas.text((x, rect.bottom() + 10.0), &mark.text, Lettering::small(Anchor::Middle));
            free_from = x + half + 3.0;
        }
    }
    canvas.line(&[(rect.x, rect.bottom()), (rect.right(), rect.bottom())], Stroke::solid(SOFT, 0.8));
    let at = (rect.x + rect.w / 2.0, rect.bottom() + 24.0);
    canvas.text(at, title, Lettering::new(TEXT, Anchor::Middle));
}

/// How far a tick label may reach beyond its axis.
const OVERHANG: f64 = 8.0;

/// The axis below a box: light grid lines, labels that do not touch, a title. Needs 18 pixels, and
/// 14 more with a title.
pub fn below(
    canvas: &mut Canvas<'_>,
    rect: Rect,
    scale: Scale,
    label: fn(f64) -> String,
    title: Option<&str>,
) {
    let room = (rect.w / 42.0) as usize;
    let mut free_from = f64::NEG_INFINITY;
    for tick in scale.ticks(room) {
        let x = scale.x(tick, rect);
        canvas.line(&[(x, rect.y), (x, rect.bottom())], Stroke::solid(GRID, 0.6));
        canvas.line(&[(x, rect.bottom()), (x, rect.bottom() + 3.0)], Stroke::solid(SOFT, 0.7));
        let text = label(tick);
        let half = width_of(&text, SMALL) / 2.0;
        // Labels at the ends are moved inwards, so that they keep clear of a neighbouring plot.
        let middle = x.max(rect.x - OVERHANG + half).min(rect.right() + OVERHANG - half);
        if middle - half > free_from {
            canvas.text((middle, rect.bottom() + 10.0), &text, Lettering::small(Anchor::Middle));
            free_from = middle + half + 3.0;
        }
    }
    canvas.line(&[(rect.x, rect.bottom()), (rect.right(), rect.bottom())], Stroke::solid(SOFT, 0.8));
    if let Some(title) = title {
        let at = (rect.x + rect.w / 2.0, rect.bottom() + 24.0);
        canvas.text(at, title, Lettering::new(TEXT, Anchor::Middle));
    }
}

/// The axis left of a box. Needs 34 pixels, and 14 more with a title; more where labels are long.
pub fn left(
    canvas: &mut Canvas<'_>,
    rect: Rect,
    scale: Scale,
    label: fn(f64) -> String,
    title: Option<&str>,
) {
    let mut widest = 0.0f64;
    for tick in scale.ticks((rect.h / 24.0) as usize) {
        let y = scale.y(tick, rect);
        let text = label(tick);
        widest = widest.max(width_of(&text, SMALL));
        canvas.line(&[(rect.x, y), (rect.right(), y)], Stroke::solid(GRID, 0.6));
        canvas.text((rect.x - 4.0, y), &text, Lettering::small(Anchor::End));
    }
    canvas.line(&[(rect.x, rect.y), (rect.x, rect.bottom())], Stroke::solid(SOFT, 0.8));
    if let Some(title) = title {
        let at = (rect.x - 42.0f64.max(widest + 12.0), rect.y + rect.h / 2.0);
        canvas.text(at, title, Lettering::new(TEXT, Anchor::Middle).upright().colour(INK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_ticks_are_round() {
        let scale = Scale::log_over([13.0, 870.0].into_iter());
        assert_eq!(scale, Scale::Log { min: 10.0, max: 1000.0 });
        assert_eq!(scale.ticks(9), vec![10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]);
        assert_eq!(scale.ticks(5), vec![10.0, 30.0, 100.0, 300.0, 1000.0]);
        assert_eq!(scale.ticks(4), vec![10.0, 100.0, 1000.0]);
        assert_eq!(
            Scale::from_zero([0.0, 47.0].into_iter()).ticks(5),
            vec![0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
        );
    }

    #[test]
    fn zeros_and_nothing_at_all_can_be_placed() {
        let scale = Scale::log_over([0.0, 5.0].into_iter());
        assert_eq!(scale.place(0.0), 0.0);
        assert!(Scale::log_over(std::iter::empty()).place(3.0).is_finite());
        assert_eq!(Scale::from_zero(std::iter::empty()).place(f64::NAN), 0.0);
    }

    #[test]
    fn latencies_are_written_with_a_short_unit() {
        assert_eq!([0.005, 0.5, 13.0, 2500.0].map(latency), ["5 µs", "500 µs", "13 ms", "2.5 s"]);
    }
}
