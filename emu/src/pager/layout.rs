//! Which page of a template belongs at an address of a process, kept up as the process changes its memory.

use serde::{Deserialize, Serialize};

use crate::template::pages::PAGE;

const PAGE_BYTES: u64 = PAGE as u64;
/// Most regions of a process.
pub const MOST_REGIONS: usize = 3000;

/// A range of a process and the pages that belong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, u64)", into = "(u64, u64, u64)")]
pub struct Region {
    /// First byte; whole pages.
    pub address: u64,
    /// Bytes; whole pages.
    pub length: u64,
    /// Number of the first page in the template.
    pub first_page: u64,
}

impl From<(u64, u64, u64)> for Region {
    fn from((address, length, first_page): (u64, u64, u64)) -> Self {
        Self { address, length, first_page }
    }
}

impl From<Region> for (u64, u64, u64) {
    fn from(region: Region) -> Self {
        (region.address, region.length, region.first_page)
    }
}

/// Why regions were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// There is none, or there are too many.
    #[error("{0} regions: a process has 1 to {MOST_REGIONS}")]
    Number(usize),
    /// It does not consist of whole pages of the address space.
    #[error("the region at {:#x} of {:#x} bytes does not consist of whole pages", .0.address, .0.length)]
    Pages(Region),
    /// It reaches beyond the template.
    #[error("the region at {:#x} reaches to page {end}, and the template has {has}", .region.address)]
    Beyond {
        /// The region.
        region: Region,
        /// Behind its last page.
        end: u64,
        /// Pages of the template.
        has: u64,
    },
    /// Two overlap.
    #[error("the regions at {0:#x} and {1:#x} overlap")]
    Overlap(u64, u64),
}

/// What belongs at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This page of the template.
    Page(u64),
    /// Zeros: memory that the process gave up, or that grew.
    Zero,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    start: u64,
    end: u64,
    origin: Origin,
}

impl Piece {
    /// The part of the piece between two addresses inside it.
    fn part(&self, start: u64, end: u64) -> Self {
        let origin = match self.origin {
            Origin::Page(first) => Origin::Page(first + (start - self.start) / PAGE_BYTES),
            Origin::Zero => Origin::Zero,
        };
        Self { start, end, origin }
    }
}

/// The memory of a process that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// By address, without overlaps.
    pieces: Vec<Piece>,
}

impl Layout {
    /// Checks regions of a template of `has` pages.
    ///
    /// # Errors
    /// If they make no sense.
    pub fn new(regions: &[Region], has: u64) -> Result<Self, RegionError> {
        if regions.is_empty() || regions.len() > MOST_REGIONS {
            return Err(RegionError::Number(regions.len()));
        }
        let mut pieces = Vec::with_capacity(regions.len() + 16);
        for region in regions {
            let whole = region.address.is_multiple_of(PAGE_BYTES) && region.length.is_multiple_of(PAGE_BYTES);
            let Some(end) = region.address.checked_add(region.length) else {
                return Err(RegionError::Pages(*region));
            };
            if !whole || region.length == 0 {
                return Err(RegionError::Pages(*region));
            }
            let last = region.first_page.saturating_add(region.length / PAGE_BYTES);
            if last > has {
                return Err(RegionError::Beyond { region: *region, end: last, has });
            }
            pieces.push(Piece { start: region.address, end, origin: Origin::Page(region.first_page) });
        }
        pieces.sort_unstable_by_key(|piece| piece.start);
        if let Some(pair) = pieces.windows(2).find(|pair| pair[0].end > pair[1].start) {
            return Err(RegionError::Overlap(pair[0].start, pair[1].start));
        }
        Ok(Self { pieces })
    }

    fn find(&self, address: u64) -> Option<&Piece> {
        let behind = self.pieces.partition_point(|piece| piece.start <= address);
        self.pieces[..behind].last().filter(|piece| address < piece.end)
    }

    /// What belongs at an address, and for how many pages from there the next pages of the template do; at most
    /// `most`. An address of no region is memory that grew from one: zeros, one page.
    #[must_use]
    pub fn run(&self, address: u64, most: usize) -> (Origin, usize) {
        let Some(piece) = self.find(address) else {
            return (Origin::Zero, 1);
        };
        let pages = ((piece.end - address) / PAGE_BYTES) as usize;
        (piece.part(address, piece.end).origin, pages.min(most))
    }

    /// The address where a page of the template belongs, and for how many pages from there it goes on.
    #[must_use]
    pub fn places(&self) -> Places {
        let mut by_page: Vec<(u64, u64, u64)> = self
            .pieces
            .iter()
            .filter_map(|piece| match piece.origin {
                Origin::Page(first) => {
                    Some((first, first + (piece.end - piece.start) / PAGE_BYTES, piece.start))
                }
                Origin::Zero => None,
            })
            .collect();
        by_page.sort_unstable();
        Places { by_page }
    }

    /// Every range: address and pages.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.pieces.iter().map(|piece| (piece.start, (piece.end - piece.start) / PAGE_BYTES))
    }

    /// The range has been unmapped.
    pub fn unmap(&mut self, start: u64, end: u64) {
        let mut at = self.pieces.partition_point(|piece| piece.end <= start);
        while at < self.pieces.len() && self.pieces[at].start < end {
            let piece = self.pieces.remove(at);
            if piece.start < start {
                self.pieces.insert(at, piece.part(piece.start, start));
                at += 1;
            }
            if piece.end > end {
                self.pieces.insert(at, piece.part(end, piece.end));
                at += 1;
            }
        }
    }

    /// The range holds zeros from now on.
    pub fn remove(&mut self, start: u64, end: u64) {
        // Only what is known: a hole in between stays unknown, which means zeros as well.
        let inside: Vec<(u64, u64)> = self
            .pieces
            .iter()
            .filter(|piece| piece.end > start && piece.start < end)
            .map(|piece| (piece.start.max(start), piece.end.min(end)))
            .collect();
        for (start, end) in inside {
            self.unmap(start, end);
            let at = self.pieces.partition_point(|piece| piece.start < start);
            self.pieces.insert(at, Piece { start, end, origin: Origin::Zero });
        }
    }

    /// The range has moved.
    pub fn remap(&mut self, from: u64, to: u64, length: u64) {
        let moved: Vec<Piece> = self
            .pieces
            .iter()
            .filter(|piece| piece.end > from && piece.start < from + length)
            .map(|piece| piece.part(piece.start.max(from), piece.end.min(from + length)))
            .collect();
        self.unmap(from, from + length);
        self.unmap(to, to + length);
        let at = self.pieces.partition_point(|piece| piece.start < to);
        let shifted = moved.into_iter().map(|piece| Piece {
            start: piece.start - from + to,
            end: piece.end - from + to,
            ..piece
        });
        self.pieces.splice(at..at, shifted);
    }
}

/// Where the pages of a template belong, by page.
#[derive(Clone, Debug)]
pub struct Places {
    /// First page, behind the last page, address; by first page.
    by_page: Vec<(u64, u64, u64)>,
}

impl Places {
    /// The address of a page, and for how many pages from there it goes on. The first, if it has several.
    #[must_use]
    pub fn of(&self, page: u64) -> Option<(u64, u64)> {
        let behind = self.by_page.partition_point(|(first, _, _)| *first <= page);
        let (first, end, address) = *self.by_page[..behind].iter().rev().find(|(_, end, _)| page < *end)?;
        Some((address + (page - first) * PAGE_BYTES, end - page))
    }

    /// Turns ranges of pages (first, count) into ranges of addresses (address, pages), in order.
    #[must_use]
    pub fn spans(&self, ranges: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for (mut page, count) in ranges {
            let end = page + count;
            while page < end {
                let Some((address, room)) = self.of(page) else {
                    page += 1;
                    continue;
                };
                let pages = room.min(end - page);
                match spans.last_mut() {
                    Some((last, length)) if *last + *length * PAGE_BYTES == address => *length += pages,
                    _ => spans.push((address, pages)),
                }
                page += pages;
            }
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(page: u64) -> u64 {
        0x10_0000 + page * PAGE_BYTES
    }

    fn region(page: u64, pages: u64, first_page: u64) -> Region {
        Region { address: at(page), length: pages * PAGE_BYTES, first_page }
    }

    /// Ten pages of the template from page 5 on.
    fn layout() -> Layout {
        Layout::new(&[region(0, 10, 5)], 100).unwrap()
    }

    fn origins(layout: &Layout, pages: std::ops::Range<u64>) -> Vec<Origin> {
        pages.map(|page| layout.run(at(page), 1).0).collect()
    }

    #[test]
    fn a_run_ends_with_its_region() {
        let layout = Layout::new(&[region(4, 4, 50), region(0, 4, 7)], 100).unwrap();
        assert_eq!(layout.run(at(2), 64), (Origin::Page(9), 2));
        assert_eq!(layout.run(at(4), 3), (Origin::Page(50), 3));
        assert_eq!(layout.run(at(8), 64), (Origin::Zero, 1));
    }

    #[test]
    fn regions_that_make_no_sense_are_refused() {
        let wrong = |regions: &[Region]| Layout::new(regions, 20).unwrap_err();
        assert_eq!(wrong(&[]), RegionError::Number(0));
        let odd = Region { address: at(0) + 1, ..region(0, 1, 0) };
        assert_eq!(wrong(&[odd]), RegionError::Pages(odd));
        assert_eq!(wrong(&[region(0, 0, 0)]), RegionError::Pages(region(0, 0, 0)));
        assert!(matches!(wrong(&[region(0, 11, 10)]), RegionError::Beyond { end: 21, has: 20, .. }));
        assert_eq!(wrong(&[region(3, 2, 0), region(0, 4, 0)]), RegionError::Overlap(at(0), at(3)));
        let huge = Region { address: !0xfff, length: PAGE_BYTES * 2, first_page: 0 };
        assert_eq!(wrong(&[huge]), RegionError::Pages(huge));
    }

    #[test]
    fn removed_pages_are_zeros_and_unmapped_ones_unknown() {
        let mut layout = layout();
        layout.remove(at(2), at(4));
        layout.unmap(at(3), at(6));
        assert_eq!(layout.run(at(0), 64), (Origin::Page(5), 2));
        assert_eq!(layout.run(at(2), 64), (Origin::Zero, 1));
        assert_eq!(layout.run(at(6), 64), (Origin::Page(11), 4));
        assert_eq!(layout.run(at(4), 64), (Origin::Zero, 1));
        assert_eq!(layout.pieces.len(), 3);
    }

    #[test]
    fn a_moved_range_takes_its_pages_along() {
        let mut layout = layout();
        layout.remove(at(3), at(4));
        layout.remap(at(2), at(20), 3 * PAGE_BYTES);
        use Origin::{Page, Zero};
        assert_eq!(origins(&layout, 1..6), [Page(6), Zero, Zero, Zero, Page(10)]);
        assert_eq!(origins(&layout, 20..23), [Page(7), Zero, Page(9)]);
        // Onto pages that are there: they are gone.
        layout.remap(at(20), at(0), 3 * PAGE_BYTES);
        assert_eq!(origins(&layout, 0..3), [Page(7), Zero, Page(9)]);
    }

    #[test]
    fn pages_are_found_where_they_belong() {
        let layout = Layout::new(&[region(0, 4, 10), region(4, 4, 14), region(100, 2, 0)], 100).unwrap();
        let places = layout.places();
        assert_eq!(places.of(15), Some((at(5), 3)));
        assert_eq!(places.of(40), None);
        assert_eq!(places.spans([(12, 4), (0, 1), (40, 2)]), [(at(2), 4), (at(100), 1)]);
    }

    /// The layout against a plain list of pages.
    #[test]
    fn random_changes_agree_with_a_list_of_pages() {
        const PAGES: u64 = 64;
        let mut random = 1_u64;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for _ in 0..200 {
            let mut layout = Layout::new(&[region(0, 32, 0)], PAGES).unwrap();
            let mut list: Vec<Origin> =
                (0..PAGES).map(|page| if page < 32 { Origin::Page(page) } else { Origin::Zero }).collect();
            for _ in 0..30 {
                let (start, length) = (draw(PAGES - 8), draw(8) + 1);
                let (from, end) = (at(start), at(start + length));
                match draw(3) {
                    0 => {
                        layout.remove(from, end);
                        list[start as usize..][..length as usize].fill(Origin::Zero);
                    }
                    1 => {
                        layout.unmap(from, end);
                        list[start as usize..][..length as usize].fill(Origin::Zero);
                    }
                    _ => {
                        let to = (start + length + draw(PAGES)) % (PAGES - length + 1);
                        // The kernel refuses ranges that overlap.
                        if to + length > start && start + length > to {
                            continue;
                        }
                        layout.remap(from, at(to), length * PAGE_BYTES);
                        let moved = list[start as usize..][..length as usize].to_vec();
                        list[start as usize..][..length as usize].fill(Origin::Zero);
                        list[to as usize..][..length as usize].copy_from_slice(&moved);
                    }
                }
                assert_eq!(origins(&layout, 0..PAGES), list);
                assert!(layout.pieces.windows(2).all(|pair| pair[0].end <= pair[1].start));
            }
        }
    }
}
