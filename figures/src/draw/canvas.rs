//! Lines, boxes, points and text on an SVG. The SVG writer works in whole units, so a pixel is ten
//! of them; no font is needed, widths of text are guessed (generously) from its characters.

use super::style::{Colour, Dash, INK, Marker, SMALL};
use plotters::prelude::{DrawingBackend, RGBAColor, SVGBackend, ShapeStyle, TextStyle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontTransform, IntoFont, IntoTextStyle};

/// Units of the SVG in a pixel.
const FINE: f64 = 10.0;
/// The writer divides font sizes by this.
const FONT_FACTOR: f64 = 1.24;

/// Dash patterns in units. The writer knows no dashes: a dashed line is written with an opacity that
/// stands in for its pattern and is replaced at the end.
const PATTERNS: [(Dash, &str); 4] = [
    (Dash::Dashed, "60 25"),
    (Dash::Dotted, "16 20"),
    (Dash::DashDot, "70 20 16 20"),
    (Dash::Short, "35 20"),
];

fn stand_in(dash: Dash) -> f64 {
    match dash {
        Dash::Solid => 1.0,
        other => 1.0 - 0.0625 * (1 + other as u32) as f64 / 64.0,
    }
}

/// A box in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Left.
    pub x: f64,
    /// Top.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

impl Rect {
    /// Right.
    pub fn right(&self) -> f64 {
        self.x + self.w
    }

    /// Bottom.
    pub fn bottom(&self) -> f64 {
        self.y + self.h
    }

    /// The box without margins.
    pub fn inset(&self, left: f64, top: f64, right: f64, bottom: f64) -> Self {
        Self {
            x: self.x + left,
            y: self.y + top,
            w: (self.w - left - right).max(1.0),
            h: (self.h - top - bottom).max(1.0),
        }
    }
}

/// Horizontal place of a text relative to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Begins at the point.
    Start,
    /// Centred on the point.
    Middle,
    /// Ends at the point.
    End,
}

/// How a text is set; vertically it is centred on its point.
#[derive(Clone, Copy, Debug)]
pub struct Lettering {
    /// Size in pixels.
    pub size: f64,
    /// Colour.
    pub colour: Colour,
    /// Horizontal place.
    pub anchor: Anchor,
    /// Bold.
    pub bold: bool,
    /// Reads from bottom to top.
    pub upright: bool,
}

impl Lettering {
    /// Plain text of a size.
    pub const fn new(size: f64, anchor: Anchor) -> Self {
        Self { size, colour: INK, anchor, bold: false, upright: false }
    }

    /// Tick labels and notes.
    pub const fn small(anchor: Anchor) -> Self {
        Self::new(SMALL, anchor)
    }

    /// In another colour.
    pub const fn colour(mut self, colour: Colour) -> Self {
        self.colour = colour;
        self
    }

    /// In bold.
    pub const fn bold(mut self) -> Self {
        self.bold = true;
        self
    }

    /// From bottom to top.
    pub const fn upright(mut self) -> Self {
        self.upright = true;
        self
    }
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Stroke {
    /// Colour.
    pub colour: Colour,
    /// Width in pixels.
    pub width: f64,
    /// Interruptions.
    pub dash: Dash,
}

impl Stroke {
    /// A continuous line.
    pub const fn solid(colour: Colour, width: f64) -> Self {
        Self { colour, width, dash: Dash::Solid }
    }
}

/// An SVG being drawn.
pub struct Canvas<'a> {
    backend: SVGBackend<'a>,
    failed: Option<String>,
}

/// Draws an SVG of a size in pixels. `label` is what a screen reader says.
pub fn paint(
    width: f64,
    height: f64,
    label: &str,
    body: impl FnOnce(&mut Canvas<'_>),
) -> Result<String, String> {
    let size = ((width * FINE).round() as u32, (height * FINE).round() as u32);
    let mut drawn = String::new();
    let mut canvas = Canvas { backend: SVGBackend::with_string(&mut drawn, size), failed: None };
    body(&mut canvas);
    let finished = canvas.backend.present().map_err(|e| e.to_string());
    let failed = canvas.failed.take();
    drop(canvas);
    failed.map_or(finished, Err)?;
    let mut inner = drawn.split_once('>').map_or("", |(_, inner)| inner).replace(" opacity=\"1\"", "");
    for (dash, pattern) in PATTERNS {
        let written = format!("opacity=\"{}\"", stand_in(dash));
        inner = inner.replace(&written, &format!("stroke-dasharray=\"{pattern}\""));
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">{inner}",
        size.0,
        size.1,
        escape(label)
    ))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Text without the characters XML does not allow.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')).collect()
}

fn units((x, y): (f64, f64)) -> (i32, i32) {
    ((x * FINE).round() as i32, (y * FINE).round() as i32)
}

fn shape(colour: Colour, width: f64, filled: bool) -> ShapeStyle {
    let (r, g, b) = colour;
    ShapeStyle { color: RGBAColor(r, g, b, 1.0), filled, stroke_width: (width * FINE).round() as u32 }
}

impl Canvas<'_> {
    fn note<E: std::fmt::Display>(&mut self, result: Result<(), E>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error.to_string());
        }
    }

    /// A line through points; points nearer than a third of a pixel to the one before are left out.
    pub fn line(&mut self, points: &[(f64, f64)], stroke: Stroke) {
        let mut path: Vec<(f64, f64)> = Vec::with_capacity(points.len());
        for (i, &(x, y)) in points.iter().enumerate() {
            let last = i + 1 == points.len();
            let near = |&(a, b): &(f64, f64)| (x - a).hypot(y - b) < 0.33;
            if last || !path.last().is_some_and(near) {
                path.push((x, y));
            }
        }
        let mut path: Vec<_> = path.into_iter().map(units).collect();
        path.dedup();
        if path.len() > 1 {
            let mut style = shape(stroke.colour, stroke.width, false);
            style.color.3 = stand_in(stroke.dash);
            let drawn = self.backend.draw_path(path, &style);
            self.note(drawn);
        }
    }

    /// A filled box.
    pub fn fill(&mut self, rect: Rect, colour: Colour) {
        let corners = (units((rect.x, rect.y)), units((rect.right(), rect.bottom())));
        let drawn = self.backend.draw_rect(corners.0, corners.1, &shape(colour, 0.0, true), true);
        self.note(drawn);
    }

    /// The outline of a box.
    pub fn outline(&mut self, rect: Rect, stroke: Stroke) {
        let (l, t, r, b) = (rect.x, rect.y, rect.right(), rect.bottom());
        self.line(&[(l, t), (r, t), (r, b), (l, b), (l, t)], stroke);
    }

    /// A filled polygon.
    fn polygon(&mut self, points: &[(f64, f64)], colour: Colour) {
        let path: Vec<_> = points.iter().copied().map(units).collect();
        let drawn = self.backend.fill_polygon(path, &shape(colour, 0.0, true));
        self.note(drawn);
    }

    /// A filled circle.
    pub fn dot(&mut self, at: (f64, f64), radius: f64, colour: Colour) {
        let radius = (radius * FINE).round() as u32;
        let drawn = self.backend.draw_circle(units(at), radius, &shape(colour, 0.0, true), true);
        self.note(drawn);
    }

    /// A white circle with a coloured rim.
    pub fn ring(&mut self, at: (f64, f64), radius: f64, colour: Colour) {
        self.dot(at, radius + 0.6, colour);
        self.dot(at, radius - 0.6, super::style::WHITE);
    }

    /// A marker whose half width is about `r` pixels.
    pub fn marker(&mut self, (x, y): (f64, f64), marker: Marker, r: f64, colour: Colour) {
        match marker {
            Marker::Circle => self.dot((x, y), r, colour),
            Marker::Square => {
                let s = r * 0.9;
                self.fill(Rect { x: x - s, y: y - s, w: 2.0 * s, h: 2.0 * s }, colour);
            }
            Marker::Up => {
                let (w, h) = (r * 1.15, r);
                self.polygon(&[(x - w, y + h), (x + w, y + h), (x, y - h)], colour);
            }
            Marker::Down => {
                let (w, h) = (r * 1.15, r);
                self.polygon(&[(x - w, y - h), (x + w, y - h), (x, y + h)], colour);
            }
            Marker::Diamond => {
                let s = r * 1.25;
                self.polygon(&[(x - s, y), (x, y - s), (x + s, y), (x, y + s)], colour);
            }
            Marker::Cross => {
                let s = r * 0.9;
                let stroke = Stroke::solid(colour, r * 0.6);
                self.line(&[(x - s, y - s), (x + s, y + s)], stroke);
                self.line(&[(x - s, y + s), (x + s, y - s)], stroke);
            }
        }
    }

    /// A horizontal whisker with end caps, on a white halo so that it shows on any bar.
    pub fn whisker(&mut self, y: f64, low: f64, high: f64, cap: f64) {
        for stroke in [Stroke::solid(super::style::WHITE, 2.0), Stroke::solid(INK, 0.9)] {
            self.line(&[(low, y), (high, y)], stroke);
            for x in [low, high] {
                self.line(&[(x, y - cap), (x, y + cap)], stroke);
            }
        }
    }

    /// A text.
    pub fn text(&mut self, at: (f64, f64), text: &str, how: Lettering) {
        let (r, g, b) = how.colour;
        let colour = RGBAColor(r, g, b, 1.0);
        let anchor = match how.anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        let mut font = ("sans-serif", how.size * FONT_FACTOR * FINE).into_font();
        if how.bold {
            font = font.style(plotters::style::FontStyle::Bold);
        }
        if how.upright {
            font = font.transform(FontTransform::Rotate270);
        }
        let style: TextStyle<'_> =
            font.into_text_style(&(1, 1)).color(&colour).pos(Pos::new(anchor, VPos::Center));
        let drawn = self.backend.draw_text(&printable(text), &style, units(at));
        self.note(drawn);
    }
}

/// A generous guess of a text's width in pixels.
pub fn width_of(text: &str, size: f64) -> f64 {
    let ems: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | '.' | ',' | ':' | '\'' | '|' | ' ' => 0.34,
            'm' | 'w' | 'M' | 'W' | '%' | '…' => 0.95,
            'A'..='Z' | '+' | '=' | '<' | '>' => 0.74,
            'f' | 'r' | 't' | '-' | '(' | ')' | '/' => 0.44,
            _ => 0.62,
        })
        .sum();
    ems * size
}

/// The text, or its beginning and `…` where it is wider than `room` pixels.
pub fn fit(text: &str, room: f64, size: f64) -> String {
    if width_of(text, size) <= room {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if width_of(&short, size) + width_of("…", size) > room {
            short.pop();
            break;
        }
    }
    format!("{}…", short.trim_end())
}

/// The text in lines of at most `room` pixels; a word is never broken.
pub fn wrap(text: &str, room: f64, size: f64) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if width_of(line, size) + width_of(word, size) + 0.34 * size <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashed_line_is_one_element() {
        let svg = paint(10.0, 10.0, "", |canvas| {
            let stroke = Stroke { dash: Dash::Dashed, ..Stroke::solid(INK, 1.0) };
            canvas.line(&[(0.0, 0.0), (5.0, 0.01), (10.0, 10.0)], stroke);
        });
        let line = "<polyline fill=\"none\" stroke-dasharray=\"60 25\" stroke=\"#222222\" \
                    stroke-width=\"10\" points=\"0,0 50,0 100,100 \"/>";
        assert!(svg.unwrap().contains(line));
    }

    #[test]
    fn names_are_escaped_and_control_characters_dropped() {
        let svg = paint(10.0, 10.0, "a \"b\" <c>", |canvas| {
            canvas.text((1.0, 1.0), "<script>\u{1}&", Lettering::small(Anchor::Start));
        });
        let svg = svg.unwrap();
        assert!(svg.contains("aria-label=\"a &quot;b&quot; &lt;c&gt;\""));
        assert!(svg.contains("&lt;script&gt;&amp;\n"));
    }

    #[test]
    fn long_names_are_cut_with_an_ellipsis() {
        assert_eq!(fit("image-recognition", 200.0, 10.0), "image-recognition");
        assert_eq!(fit("image-recognition", 55.0, 10.0), "image-r…");
    }
}
