//! Images whose anonymous memory has become private mappings of a file, which is the template: CRIU restores them
//! without reading those pages, and restored processes share the ones that they only read.
//!
//! Rewritten are the description of memory (areas of anonymous memory are mapped from the file), the list of files
//! (one more), and the list of pages with the pages themselves (what is in the file is gone from them). Stacks,
//! written pages of libraries and what the kernel maps stay as they are. Everything else is linked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::images::{FILES, Image, MM, Message, PAGEMAP, wrong};
use super::{Error, step};
use crate::template::pages::PAGE;

/// Name of the file of pages, among the rewritten images.
pub(super) const TEMPLATE: &str = "template-pages";

/// Numbers of fields.
mod field {
    pub(super) const MM_AREA: u32 = 14;
    pub(super) const START: u32 = 1;
    pub(super) const END: u32 = 2;
    pub(super) const PLACE: u32 = 3;
    pub(super) const FILE: u32 = 4;
    pub(super) const FLAGS: u32 = 6;
    pub(super) const STATUS: u32 = 7;
    pub(super) const OPEN: u32 = 10;
    pub(super) const RUN_ADDRESS: u32 = 1;
    pub(super) const RUN_PAGES_OLD: u32 = 2;
    pub(super) const RUN_FLAGS: u32 = 4;
    pub(super) const RUN_PAGES: u32 = 5;
    pub(super) const PAGES_ID: u32 = 1;
    pub(super) const FILE_KIND: u32 = 1;
    pub(super) const FILE_ID: u32 = 2;
    pub(super) const REGULAR: u32 = 3;
    pub(super) const REGULAR_ID: u32 = 1;
    pub(super) const NAME: u32 = 6;
    pub(super) const MOUNT: u32 = 7;
    pub(super) const SIZE: u32 = 8;
    pub(super) const MODE: u32 = 10;
    pub(super) const CHECKSUMS: std::ops::RangeInclusive<u32> = 11..=14;
}

/// Bits of an area's status.
const ANONYMOUS_PRIVATE: u64 = 0x200;
const FILE_PRIVATE: u64 = 0x40;
/// Areas that stay: those of the kernel, and what grows by itself.
const OF_THE_KERNEL: u64 = 0x8 | 0x1000 | 0x4;
const MAP_ANONYMOUS: u64 = libc::MAP_ANONYMOUS as u64;
const MAP_GROWSDOWN: u64 = libc::MAP_GROWSDOWN as u64;
/// Bit of a run of pages: they are in the file of pages.
const PRESENT: u64 = 4;
/// Kind of a file: regular.
const REGULAR_FILE: u64 = 1;
/// The kernel maps large pages only where address and place in the file have the same phase.
const PHASE: u64 = 2 << 20;

/// Writes rewritten images of process `pid` into a new folder.
pub(super) fn rewrite(from: &Path, to: &Path, pid: i32) -> Result<(), Error> {
    let going = to.with_extension("going");
    fs::create_dir(&going).map_err(step("make a folder of images"))?;
    let [mm, pagemap] = ["mm", "pagemap"].map(|kind| format!("{kind}-{pid}.img"));
    let mut memory = Image::read(&from.join(&mm), MM)?;
    let mut runs = Image::read(&from.join(&pagemap), PAGEMAP)?;
    let mut files = Image::read(&from.join("files.img"), FILES)?;
    let head = runs.messages.first().and_then(|head| head.number(field::PAGES_ID));
    let head = head.ok_or_else(|| wrong(&from.join(&pagemap), "it names no file of pages"))?;
    let pages = format!("pages-{head}.img");

    let held = held(&runs).ok_or_else(|| wrong(&from.join(&pagemap), "a run of pages lacks a field"))?;
    let id = 1 + files.messages.iter().filter_map(|file| file.number(field::FILE_ID)).max().unwrap_or(0);
    let mut placed = Placed::default();
    for description in &mut memory.messages {
        let whole = description.change_inner(field::MM_AREA, |area| placed.place(area, &held, id));
        if !whole {
            return Err(wrong(&from.join(&mm), "an area is no message"));
        }
    }
    let template = fs::canonicalize(&going).map_err(step("find the folder of images"))?;
    let name = template.with_file_name(to.file_name().unwrap_or_default()).join(TEMPLATE);
    let library = files.messages.iter().find(|file| file.number(field::FILE_KIND) == Some(REGULAR_FILE));
    let file = library.and_then(|library| mapped_file(library, id, &name, placed.end));
    files.messages.push(file.ok_or_else(|| wrong(&from.join("files.img"), "it has no regular file"))?);

    runs.messages = split(&runs.messages, &held, &placed, &from.join(&pages), &going, &pages)?;
    memory.write(&going.join(&mm))?;
    runs.write(&going.join(&pagemap))?;
    files.write(&going.join("files.img"))?;
    let rewritten = [mm, pagemap, pages, "files.img".to_owned()];
    for entry in fs::read_dir(from).map_err(step("list the images"))?.flatten() {
        let name = entry.file_name();
        if !rewritten.iter().any(|written| name == written.as_str()) {
            fs::hard_link(entry.path(), going.join(name)).map_err(step("link an image"))?;
        }
    }
    fs::rename(&going, to).map_err(step("finish the rewritten images"))
}

/// A run of pages in the file of pages.
struct Run {
    addresses: Range<u64>,
    /// Where its first page is in the file; nothing if it is not there.
    at: Option<u64>,
}

/// The runs of a list of pages, but for its head.
fn held(list: &Image) -> Option<Vec<Run>> {
    let mut at = 0;
    let of = |run: &Message| {
        let address = run.number(field::RUN_ADDRESS)?;
        let pages = run.number(field::RUN_PAGES).or_else(|| run.number(field::RUN_PAGES_OLD))?;
        let present = run.number(field::RUN_FLAGS).is_none_or(|flags| flags & PRESENT != 0);
        let bytes = pages * PAGE as u64;
        let place = present.then_some(at);
        at += if present { bytes } else { 0 };
        Some(Run { addresses: address..address + bytes, at: place })
    };
    list.messages.iter().skip(1).map(of).collect()
}

/// Areas that are mapped from the template: where each begins, where it ends, and its place in the file.
#[derive(Default)]
struct Placed {
    areas: BTreeMap<u64, (u64, u64)>,
    end: u64,
}

impl Placed {
    /// Has an area mapped from the file `id`, if it is anonymous and pages of it are held.
    fn place(&mut self, area: &mut Message, held: &[Run], id: u64) {
        let get = |number| area.number(number).unwrap_or(0);
        let (start, end) = (get(field::START), get(field::END));
        let (status, flags) = (get(field::STATUS), get(field::FLAGS));
        let fits = status & ANONYMOUS_PRIVATE != 0
            && status & OF_THE_KERNEL == 0
            && flags & MAP_GROWSDOWN == 0
            && held
                .iter()
                .any(|run| run.at.is_some() && run.addresses.start < end && start < run.addresses.end);
        if !fits {
            return;
        }
        // A gap behind each: what grows by mistake is not the next area.
        let from = self.end + PAGE as u64;
        let place = from + (start % PHASE + PHASE - from % PHASE) % PHASE;
        self.end = place + (end - start);
        self.areas.insert(start, (end, place));
        area.set(field::PLACE, place);
        area.set(field::FILE, id);
        area.set(field::FLAGS, flags & !MAP_ANONYMOUS);
        area.set(field::STATUS, status & !ANONYMOUS_PRIVATE | FILE_PRIVATE);
        area.set(field::OPEN, 0);
    }

    /// The area of an address that begins at it or before, with its place; or how far there is none.
    fn at(&self, address: u64) -> Result<(u64, u64, u64), u64> {
        match self.areas.range(..=address).next_back() {
            Some((start, (end, place))) if address < *end => Ok((*start, *end, *place)),
            _ => Err(self.areas.range(address..).next().map_or(u64::MAX, |(start, _)| *start)),
        }
    }
}

/// An entry of the list of files for the template, made of one for a library.
fn mapped_file(library: &Message, id: u64, name: &Path, length: u64) -> Option<Message> {
    let mut file = library.clone();
    let mut regular = Message::parse(library.inner(field::REGULAR).next()?)?;
    regular.set(field::REGULAR_ID, id);
    regular.set_inner(field::NAME, name.as_os_str().as_encoded_bytes().to_vec());
    regular.set(field::SIZE, length);
    regular.set(field::MODE, u64::from(libc::S_IFREG | 0o644));
    regular.remove(field::MOUNT);
    field::CHECKSUMS.for_each(|number| regular.remove(number));
    file.set(field::FILE_ID, id);
    file.set_inner(field::REGULAR, regular.bytes());
    Some(file)
}

/// Divides the pages into those of the template's file and those that stay; the list of the latter.
fn split(
    list: &[Message],
    held: &[Run],
    placed: &Placed,
    pages: &Path,
    going: &Path,
    name: &str,
) -> Result<Vec<Message>, Error> {
    let reading = step("read the dumped pages");
    let source = File::open(pages).map_err(reading)?;
    let template = File::create(going.join(TEMPLATE)).map_err(step("make the template's file"))?;
    template.set_len(placed.end).map_err(step("size the template's file"))?;
    let kept = File::create(going.join(name)).map_err(step("make a file of pages"))?;
    let mut kept = BufWriter::new(kept);
    let mut rest = list[..1].to_vec();
    let mut buffer = vec![0; 1 << 20];
    for (message, run) in list[1..].iter().zip(held) {
        let mut address = run.addresses.start;
        while address < run.addresses.end {
            let area = placed.at(address);
            let end = run.addresses.end.min(match area {
                Ok((_, end, _)) | Err(end) => end,
            });
            if area.is_err() {
                let mut part = message.clone();
                let count = (end - address) / PAGE as u64;
                part.set(field::RUN_ADDRESS, address);
                if part.number(field::RUN_PAGES).is_some() {
                    part.set(field::RUN_PAGES, count);
                }
                // Newer versions write it for older ones, which read only this.
                part.set(field::RUN_PAGES_OLD, count);
                rest.push(part);
            }
            // What is not in the file of pages is zeros, as holes of the template are.
            let Some(at) = run.at else {
                address = end;
                continue;
            };
            while address < end {
                let length = buffer.len().min((end - address) as usize);
                let bytes = &mut buffer[..length];
                let from = at + (address - run.addresses.start);
                source.read_exact_at(bytes, from).map_err(step("read the dumped pages"))?;
                match area {
                    Ok((start, _, place)) => template.write_all_at(bytes, place + (address - start)),
                    Err(_) => kept.write_all(bytes),
                }
                .map_err(step("write the rewritten pages"))?;
                address += length as u64;
            }
        }
    }
    kept.flush().map_err(step("write the rewritten pages"))?;
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(numbers: &[(u32, u64)]) -> Message {
        let mut message = Message::default();
        numbers.iter().for_each(|(field, number)| message.set(*field, *number));
        message
    }

    /// Two areas of anonymous memory with a stack between them, and one run of pages over all three.
    #[test]
    fn a_run_over_several_areas_is_divided() {
        let page = PAGE as u64;
        let area = |first: u64, pages: u64, flags: u64| {
            message(&[
                (field::START, first * page),
                (field::END, (first + pages) * page),
                (field::FLAGS, 2 | MAP_ANONYMOUS | flags),
                (field::STATUS, ANONYMOUS_PRIVATE | 1),
            ])
        };
        let mut areas = [area(16, 2, 0), area(18, 1, MAP_GROWSDOWN), area(19, 2, 0), area(40, 1, 0)];
        let list = [message(&[(field::PAGES_ID, 1)]), message(&[(1, 16 * page), (2, 5), (4, PRESENT)])];
        let held = vec![Run { addresses: 16 * page..21 * page, at: Some(0) }];
        let mut placed = Placed::default();
        areas.iter_mut().for_each(|area| placed.place(area, &held, 7));
        // The stack stays, and so does an area without pages.
        let files: Vec<_> = areas.iter().map(|area| area.number(field::FILE)).collect();
        assert_eq!(files, [Some(7), None, Some(7), None]);
        assert_eq!(areas[0].number(field::FLAGS), Some(2));
        assert_eq!(areas[0].number(field::STATUS), Some(FILE_PRIVATE | 1));
        let place = |nth: usize| areas[nth].number(field::PLACE).unwrap();
        assert_eq!([place(0) % PHASE, place(2) % PHASE], [16 * page, 19 * page]);
        assert!(place(2) > place(0) + 2 * page, "with a gap");

        let folder = tempfile::tempdir().unwrap();
        let pages = folder.path().join("pages-1.img");
        let bytes: Vec<u8> = (1..=5).flat_map(|value| vec![value; PAGE]).collect();
        fs::write(&pages, bytes).unwrap();
        let rest = split(&list, &held, &placed, &pages, folder.path(), "kept").unwrap();
        assert_eq!(rest.len(), 2);
        assert_eq!(rest[1], message(&[(1, 18 * page), (2, 1), (4, PRESENT)]));
        assert_eq!(fs::read(folder.path().join("kept")).unwrap(), vec![3; PAGE]);
        let template = fs::read(folder.path().join(TEMPLATE)).unwrap();
        let shown = |nth: usize, page: usize| template[place(nth) as usize + page * PAGE];
        assert_eq!([shown(0, 0), shown(0, 1), shown(2, 0), shown(2, 1)], [1, 2, 4, 5]);
    }
}
