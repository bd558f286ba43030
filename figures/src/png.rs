//! PNG pictures of figures, for slides and previews. The SVG is the figure; this only draws it, with a font of its own:
//! no font of the system is looked at, so the same SVG gives the same bytes everywhere.

use crate::error::{Error, Result};
use crate::figure::FigureFile;
use crate::files;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};
use std::path::PathBuf;
use std::sync::Arc;

const FONT: &[u8] = include_bytes!("../fonts/DejaVuSans-subset.ttf");
/// Its family.
const FAMILY: &str = "DejaVu Sans";
/// Pixels of a picture for one of the drawing: fine enough for a page of paper.
const SCALE: f32 = 3.0;

/// Draws a figure beside its SVG and answers with the path.
pub fn render(figure: &FigureFile) -> Result<PathBuf> {
    let path = figure.svg_path.with_extension("png");
    let bytes = picture(&figure.svg).map_err(|why| Error::Draw { figure: figure.name.clone(), why })?;
    files::write(&path, &bytes)?;
    Ok(path)
}

fn picture(svg: &str) -> std::result::Result<Vec<u8>, String> {
    let mut options = Options { font_family: FAMILY.to_owned(), ..Options::default() };
    let fonts = Arc::make_mut(&mut options.fontdb);
    fonts.load_font_data(FONT.to_vec());
    fonts.set_sans_serif_family(FAMILY);
    let tree = Tree::from_str(svg, &options).map_err(|error| error.to_string())?;
    let size = tree.size();
    let pixels = |length: f32| (length * SCALE).ceil() as u32;
    let mut image = Pixmap::new(pixels(size.width()), pixels(size.height())).ok_or("it has no size")?;
    image.fill(resvg::tiny_skia::Color::WHITE);
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut image.as_mut());
    image.encode_png().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Provenance, render as draw};
    use crate::synthetic::{Shape, experiment};

    /// Pixels that are no paper.
    fn inked(svg: &str) -> usize {
        let image = Pixmap::decode_png(&picture(svg).unwrap()).unwrap();
        image
            .pixels()
            .iter()
            .filter(|pixel| (pixel.red(), pixel.green(), pixel.blue()) != (255, 255, 255))
            .count()
    }

    #[test]
    fn a_picture_is_the_same_twice_and_has_text_without_any_font_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let figures = draw(&experiment(&Shape::default()), folder.path(), &Provenance::default()).unwrap();
        let path = render(&figures[0]).unwrap();
        let first = std::fs::read(&path).unwrap();
        assert_eq!(first[..8], *b"\x89PNG\r\n\x1a\n");
        render(&figures[0]).unwrap();
        assert!(first == std::fs::read(&path).unwrap());
        let text = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"90\" height=\"20\"><text x=\"2\" y=\"14\" \
                    font-family=\"sans-serif\" font-size=\"12\">≥ 1 µs × n, α → β</text></svg>";
        assert!(inked(text) > 500, "letters are drawn");
        assert_eq!(inked("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"90\" height=\"20\"/>"), 0);
    }
}
