//! A workload as a picture: invocations per minute over time, and the distribution of service
//! times. Plain SVG text.

use crate::describe::per_minute;
use crate::time::Duration;
use crate::workload::Workload;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 340.0;
/// Points of a curve: more would not be visible.
const POINTS: usize = 600;

/// A value on an axis and what is written there.
type Tick = (f64, String);

/// One of the two panels: where it is and which values its edges stand for.
struct Panel {
    left: f64,
    right: f64,
    x: (f64, f64),
    y: (f64, f64),
}

const TOP: f64 = 46.0;
const BOTTOM: f64 = HEIGHT - 52.0;

impl Panel {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let across = (x - self.x.0) / (self.x.1 - self.x.0).max(1e-12);
        let up = (y - self.y.0) / (self.y.1 - self.y.0).max(1e-12);
        (self.left + across * (self.right - self.left), BOTTOM - up * (BOTTOM - TOP))
    }

    /// Frame, title, axis names and ticks (position, text).
    fn frame(&self, svg: &mut String, title: &str, names: (&str, &str), ticks: (&[Tick], &[Tick])) {
        let middle = (self.left + self.right) / 2.0;
        let _ = write!(
            svg,
            "<text class=\"title\" x=\"{:.1}\" y=\"{:.1}\">{title}</text>\
             <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate({:.1} {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            self.left,
            TOP - 16.0,
            HEIGHT - 12.0,
            names.0,
            self.left - 52.0,
            (TOP + BOTTOM) / 2.0,
            names.1
        );
        for (x, text) in ticks.0 {
            let (px, _) = self.at(*x, self.y.0);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{px:.1}\" x2=\"{px:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>\
                 <text x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                BOTTOM + 18.0
            );
        }
        for (y, text) in ticks.1 {
            let (_, py) = self.at(self.x.0, *y);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{py:.1}\" y2=\"{py:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                self.left,
                self.right,
                self.left - 6.0,
                py + 4.0
            );
        }
        let _ =
            write!(svg, "<path class=\"axis\" d=\"M{:.1} {TOP} V{BOTTOM} H{:.1}\"/>", self.left, self.right);
    }
}

/// The picture as an SVG document.
pub fn svg(workload: &Workload) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\"><style>text{{fill:#333}}\
         .title{{font-weight:bold;font-size:13px}}.grid{{stroke:#e4e4e4}}.axis{{stroke:#555;fill:none}}\
         .curve{{stroke:#1f6fb2;stroke-width:1.6;fill:none;stroke-linejoin:round}}.area{{fill:#1f6fb2;opacity:.15}}\
         .burn{{fill:#999;opacity:.18}}</style><rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>"
    );
    rate_panel(&mut svg, workload);
    service_panel(&mut svg, workload);
    svg.push_str("</svg>\n");
    svg
}

fn rate_panel(svg: &mut String, workload: &Workload) {
    let minutes = per_minute(&workload.invocations, workload.span);
    // A last minute that is not whole would look like a drop.
    let whole = (workload.span.as_nanos() / Duration::MINUTE.as_nanos()) as usize;
    let minutes = if whole > 0 { &minutes[..whole] } else { &minutes[..] };
    let group = minutes.len().div_ceil(POINTS).max(1);
    let groups: Vec<f64> =
        minutes.chunks(group).map(|chunk| chunk.iter().sum::<u64>() as f64 / chunk.len() as f64).collect();
    let highest = groups.iter().copied().fold(1.0, f64::max);
    let (step_y, step_x) = (round_step(highest / 4.0), round_step((minutes.len() as f64 / 6.0).max(1.0)));
    let top = (highest / step_y).ceil() * step_y;
    let panel = Panel { left: 78.0, right: 500.0, x: (0.0, minutes.len().max(1) as f64), y: (0.0, top) };
    panel.frame(
        svg,
        &format!("{}: invocations a minute", escape(&workload.name)),
        ("minute", "invocations"),
        (&ticks(panel.x.1, step_x), &ticks(top, step_y)),
    );
    if workload.burn_in > Duration::ZERO {
        let (from, high) = panel.at(0.0, top);
        let (to, low) = panel.at((workload.burn_in.as_secs_f64() / 60.0).min(panel.x.1), 0.0);
        let _ = write!(
            svg,
            "<rect class=\"burn\" x=\"{from:.1}\" y=\"{high:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>burn-in</title></rect>",
            to - from,
            low - high
        );
    }
    let mut path = String::new();
    for (i, value) in groups.iter().enumerate() {
        for edge in [i * group, ((i + 1) * group).min(minutes.len())] {
            let (x, y) = panel.at(edge as f64, *value);
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
        }
    }
    if !path.is_empty() {
        let _ = write!(
            svg,
            "<path class=\"area\" d=\"{path}L{:.1} {BOTTOM}L{:.1} {BOTTOM}Z\"/><path class=\"curve\" d=\"{path}\"/>",
            panel.right, panel.left
        );
    }
}

fn service_panel(svg: &mut String, workload: &Workload) {
    // Half a millisecond stands for everything shorter: the axis is logarithmic.
    let mut service: Vec<f64> =
        workload.invocations.iter().map(|i| i.service().as_millis_f64().max(0.5)).collect();
    service.sort_unstable_by(f64::total_cmp);
    let low = service.first().map_or(1.0, |ms| ms.log10().floor());
    let high = service.last().map_or(2.0, |ms| ms.log10().ceil()).max(low + 1.0);
    let panel = Panel { left: 588.0, right: WIDTH - 34.0, x: (low, high), y: (0.0, 1.0) };
    let decades: Vec<(f64, String)> =
        (low as i32..=high as i32).map(|power| (f64::from(power), decade(power))).collect();
    let shares: Vec<(f64, String)> = (0..=4).map(|i| (f64::from(i) / 4.0, format!("{} %", 25 * i))).collect();
    panel.frame(svg, "service time (cumulative)", ("service time", "invocations"), (&decades, &shares));
    let n = service.len();
    let mut path = String::new();
    for k in 0..=POINTS.min(n) {
        let rank = k * n / POINTS.min(n).max(1);
        let value = service.get(rank.saturating_sub(1)).copied().unwrap_or(1.0).log10();
        let (x, y) = panel.at(value, rank as f64 / n.max(1) as f64);
        let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
    }
    let _ = write!(svg, "<path class=\"curve\" d=\"{path}\"/>");
}

/// `10 ms` for 1, `1 s` for 3.
fn decade(power: i32) -> String {
    let value = 10f64.powi(power);
    if value < 1.0 {
        format!("{value} ms")
    } else if value < 1000.0 {
        format!("{value:.0} ms")
    } else {
        format!("{:.0} s", value / 1e3)
    }
}

/// The nearest of 1, 2, 5 times a power of ten that is not smaller.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .iter()
        .map(|factor| factor * power)
        .find(|rounded| *rounded >= step)
        .unwrap_or(power)
}

fn ticks(end: f64, step: f64) -> Vec<(f64, String)> {
    (0..)
        .map(|i| f64::from(i) * step)
        .take_while(|at| *at <= end * 1.0001)
        .take(12)
        .map(|at| (at, short(at)))
        .collect()
}

fn short(value: f64) -> String {
    if value >= 1e6 {
        format!("{}M", value / 1e6)
    } else if value >= 10_000.0 {
        format!("{}k", value / 1e3)
    } else {
        format!("{value}")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::zipf::Job;

    #[test]
    fn the_picture_is_whole_and_small_however_large_the_workload() {
        for count in [0, 1, 50_000] {
            let workload = Job::standard(count, 1).generate().unwrap();
            let picture = svg(&workload);
            assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"), "{count}");
            assert!(!picture.contains("NaN") && !picture.contains("inf"), "{count}");
            assert!(picture.len() < 60_000, "{} bytes", picture.len());
        }
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([0.3, 1.0, 3.0, 60.0, 240.0].map(round_step), [0.5, 1.0, 5.0, 100.0, 500.0]);
    }
}
