//! The binary workload file (`.wkl`): written once, mapped into memory ever after.
//!
//! All numbers are little-endian. A header of 128 bytes:
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | `TRENVWKL` |
//! | 8 | 4 | version of this layout |
//! | 12 | 4 | kind of records: 1 invocations, 2 requests to a language model |
//! | 16 | 8 | functions |
//! | 24 | 8 | records |
//! | 32 | 8 | burn-in, ns |
//! | 40 | 8 | span, ns |
//! | 48 | 8 | length of the function table, bytes |
//! | 56 | 8 | length of the description, bytes |
//! | 64 | 32 | BLAKE3 of the content: burn-in, span, function table, records (= [`Workload::hash`]) |
//! | 96 | 32 | BLAKE3 of the description |
//!
//! Then the function table (JSON), the description (JSON: name and provenance), zeros up to a
//! multiple of 16, and the records of 16 bytes each, in order of arrival.

use crate::atomic::AtomicFile;
use crate::error::{Error, Result};
use crate::llm::LlmTrace;
use crate::read;
use crate::records::{RECORD_BYTES, Record, Records, as_bytes};
use crate::time::{Duration, Instant};
use crate::workload::{Function, Invocation, Workload, content_hasher, table_bytes};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"TRENVWKL";
/// Version of the layout that this program writes and reads.
pub const VERSION: u32 = 1;
const HEADER_BYTES: usize = 128;

/// What the records of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Invocations of functions: a [`Workload`].
    Invocations,
    /// Requests to a language model: an [`LlmTrace`].
    LlmRequests,
}

impl Kind {
    const fn code(self) -> u32 {
        match self {
            Self::Invocations => 1,
            Self::LlmRequests => 2,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Invocations => "invocations of functions",
            Self::LlmRequests => "requests to a language model",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Description {
    name: String,
    provenance: Vec<String>,
}

#[derive(Clone, Copy)]
struct Header {
    kind: Kind,
    functions: u64,
    records: u64,
    burn_in: Duration,
    span: Duration,
    table_bytes: u64,
    description_bytes: u64,
    content_hash: [u8; 32],
    description_hash: [u8; 32],
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.kind.code().to_le_bytes());
        let numbers = [
            self.functions,
            self.records,
            self.burn_in.as_nanos(),
            self.span.as_nanos(),
            self.table_bytes,
            self.description_bytes,
        ];
        for (place, number) in bytes[16..64].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[64..96].copy_from_slice(&self.content_hash);
        bytes[96..128].copy_from_slice(&self.description_hash);
        bytes
    }

    fn from_bytes(bytes: &[u8], path: &str) -> Result<Self> {
        if !bytes.starts_with(&MAGIC) {
            let found = bytes[..bytes.len().min(8)].escape_ascii().to_string();
            return Err(Error::Foreign { path: path.to_owned(), found: format!("\"{found}\"") });
        }
        if bytes.len() < HEADER_BYTES {
            let (found, expected) = (bytes.len() as u64, HEADER_BYTES as u64);
            return Err(Error::Truncated { path: path.to_owned(), found, expected });
        }
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if word(8) != VERSION {
            return Err(Error::Version { path: path.to_owned(), found: word(8), expected: VERSION });
        }
        let kind = match word(12) {
            1 => Kind::Invocations,
            2 => Kind::LlmRequests,
            other => return Err(corrupt(path, format!("unknown kind of records {other}"))),
        };
        Ok(Self {
            kind,
            functions: number(16),
            records: number(24),
            burn_in: Duration::from_nanos(number(32)),
            span: Duration::from_nanos(number(40)),
            table_bytes: number(48),
            description_bytes: number(56),
            content_hash: std::array::from_fn(|i| bytes[64 + i]),
            description_hash: std::array::from_fn(|i| bytes[96 + i]),
        })
    }

    /// Where the records begin, and the length of the whole file; `None` on overflow.
    fn layout(&self) -> Option<(u64, u64)> {
        let front =
            (HEADER_BYTES as u64).checked_add(self.table_bytes)?.checked_add(self.description_bytes)?;
        let start = front.checked_next_multiple_of(RECORD_BYTES as u64)?;
        Some((start, self.records.checked_mul(RECORD_BYTES as u64)?.checked_add(start)?))
    }
}

fn corrupt(path: &str, problem: impl Into<String>) -> Error {
    Error::Corrupt { path: path.to_owned(), problem: problem.into() }
}

/// A file that has passed the cheap checks.
struct Opened {
    path: String,
    header: Header,
    map: Arc<Mmap>,
    records_start: usize,
}

impl Opened {
    fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = read::open(path, &name)?;
        let length = file.metadata().map_err(Error::io(&name, "inspect"))?.len();
        if length == 0 {
            return Err(Error::Truncated { path: name, found: 0, expected: HEADER_BYTES as u64 });
        }
        // SAFETY: the map is only read, and `write`/`WorkloadWriter` replace files by renaming,
        // so nobody of ours changes these bytes; a foreign truncation ends the process.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(&name, "map"))?;
        let header = Header::from_bytes(&map, &name)?;
        let Some((start, expected)) = header.layout() else {
            return Err(corrupt(&name, "the lengths in its header are impossible"));
        };
        if length < expected {
            return Err(Error::Truncated { path: name, found: length, expected });
        }
        if length > expected {
            return Err(corrupt(&name, format!("{length} bytes, its header announces {expected}")));
        }
        Ok(Self { path: name, header, map: Arc::new(map), records_start: start as usize })
    }

    fn expect(&self, kind: Kind) -> Result<()> {
        if self.header.kind == kind {
            return Ok(());
        }
        Err(Error::Kind { path: self.path.clone(), found: self.header.kind.words(), expected: kind.words() })
    }

    fn table(&self) -> &[u8] {
        &self.map[HEADER_BYTES..HEADER_BYTES + self.header.table_bytes as usize]
    }

    fn description_bytes(&self) -> &[u8] {
        let start = HEADER_BYTES + self.header.table_bytes as usize;
        &self.map[start..start + self.header.description_bytes as usize]
    }

    fn functions(&self) -> Result<Vec<Function>> {
        let functions: Vec<Function> = serde_json::from_slice(self.table())
            .map_err(|error| corrupt(&self.path, format!("function table: {error}")))?;
        if functions.len() as u64 != self.header.functions {
            let problem =
                format!("{} functions, its header announces {}", functions.len(), self.header.functions);
            return Err(corrupt(&self.path, problem));
        }
        Ok(functions)
    }

    fn description(&self) -> Result<Description> {
        serde_json::from_slice(self.description_bytes())
            .map_err(|error| corrupt(&self.path, format!("description: {error}")))
    }

    fn records<T: Record>(&self) -> Result<Records<T>> {
        let records =
            Records::mapped(Arc::clone(&self.map), self.records_start, self.header.records as usize);
        records.ok_or_else(|| corrupt(&self.path, "its records are not aligned"))
    }

    fn verify(&self) -> Result<()> {
        let mut content = content_hasher(self.header.burn_in, self.header.span, self.table());
        content.update(&self.map[self.records_start..]);
        if *content.finalize().as_bytes() != self.header.content_hash {
            return Err(corrupt(&self.path, "the hash of its content is not the one in its header"));
        }
        let front = HEADER_BYTES + (self.header.table_bytes + self.header.description_bytes) as usize;
        if self.map[front..self.records_start].iter().any(|byte| *byte != 0) {
            return Err(corrupt(&self.path, "the padding in front of its records is not zero"));
        }
        if *blake3::hash(self.description_bytes()).as_bytes() != self.header.description_hash {
            return Err(corrupt(&self.path, "the hash of its description is not the one in its header"));
        }
        Ok(())
    }
}

/// What records the file at `path` holds.
///
/// # Errors
/// As [`open`].
pub fn kind(path: &Path) -> Result<Kind> {
    Ok(Opened::open(path)?.header.kind)
}

/// Opens a workload: its invocations stay in the file, mapped. Checks the header and the sizes,
/// not the content: see [`verify`].
///
/// # Errors
/// [`Error::Io`], [`Error::Foreign`], [`Error::Version`], [`Error::Truncated`], [`Error::Corrupt`]
/// or, for another kind of records, [`Error::Kind`].
pub fn open(path: &Path) -> Result<Workload> {
    let opened = Opened::open(path)?;
    opened.expect(Kind::Invocations)?;
    let Description { name, provenance } = opened.description()?;
    Ok(Workload {
        name,
        functions: opened.functions()?,
        invocations: opened.records()?,
        burn_in: opened.header.burn_in,
        span: opened.header.span,
        provenance,
    })
}

/// Opens requests to a language model, as [`open`] opens a workload.
///
/// # Errors
/// As [`open`].
pub fn open_llm(path: &Path) -> Result<LlmTrace> {
    let opened = Opened::open(path)?;
    opened.expect(Kind::LlmRequests)?;
    let Description { name, provenance } = opened.description()?;
    Ok(LlmTrace { name, requests: opened.records()?, span: opened.header.span, provenance })
}

/// Reads the whole file and compares its hashes, then checks what a workload promises.
///
/// # Errors
/// [`Error::Corrupt`] if a hash differs, else as [`open`] and [`Workload::validate`].
pub fn verify(path: &Path) -> Result<()> {
    let opened = Opened::open(path)?;
    opened.verify()?;
    if opened.header.kind == Kind::Invocations { open(path)?.validate() } else { Ok(()) }
}

/// The content hash in the header, without reading the records: [`Workload::hash`] as 64
/// hexadecimal digits.
///
/// # Errors
/// As [`open`].
pub fn stored_hash(path: &Path) -> Result<String> {
    Ok(blake3::Hash::from_bytes(Opened::open(path)?.header.content_hash).to_hex().to_string())
}

/// Writes a workload to `path`, whole or not at all.
///
/// # Errors
/// [`Error::Io`], or [`Error::Workload`] if the workload is not sound.
pub fn write(path: &Path, workload: &Workload) -> Result<()> {
    let mut writer = WorkloadWriter::create(path, workload)?;
    writer.push(&workload.invocations)?;
    writer.finish().map(|_| ())
}

/// Writes requests to a language model to `path`, whole or not at all.
///
/// # Errors
/// [`Error::Io`], or [`Error::Workload`] if the requests are not in order of arrival.
pub fn write_llm(path: &Path, trace: &LlmTrace) -> Result<()> {
    if !trace.requests.is_sorted_by_key(|request| request.arrival()) {
        let problem = "requests are not in order of arrival; sort them".to_owned();
        return Err(Error::Workload { name: trace.name.clone(), problem });
    }
    let front =
        Front::new(Kind::LlmRequests, &trace.name, &trace.provenance, &[], Duration::ZERO, trace.span);
    let mut body = Body::create(path, front)?;
    body.push(as_bytes(&trace.requests), trace.requests.len())?;
    body.finish().map(|_| ())
}

/// Everything before the records.
struct Front {
    header: Header,
    table: Vec<u8>,
    description: Vec<u8>,
}

impl Front {
    fn new(
        kind: Kind,
        name: &str,
        provenance: &[String],
        functions: &[Function],
        burn_in: Duration,
        span: Duration,
    ) -> Self {
        let table = table_bytes(functions);
        let description = Description { name: name.to_owned(), provenance: provenance.to_vec() };
        let description = serde_json::to_vec(&description).expect("strings always read as JSON");
        let header = Header {
            kind,
            functions: functions.len() as u64,
            records: 0,
            burn_in,
            span,
            table_bytes: table.len() as u64,
            description_bytes: description.len() as u64,
            content_hash: [0; 32],
            description_hash: *blake3::hash(&description).as_bytes(),
        };
        Self { header, table, description }
    }
}

/// The file while records are appended.
struct Body {
    file: AtomicFile,
    header: Header,
    hasher: blake3::Hasher,
}

impl Body {
    fn create(path: &Path, front: Front) -> Result<Self> {
        let Front { header, table, description } = front;
        let mut file = AtomicFile::create(path)?;
        file.write(&[0; HEADER_BYTES])?;
        file.write(&table)?;
        file.write(&description)?;
        let used = table.len() + description.len();
        file.write(&[0; RECORD_BYTES][..used.next_multiple_of(RECORD_BYTES) - used])?;
        let hasher = content_hasher(header.burn_in, header.span, &table);
        Ok(Self { file, header, hasher })
    }

    fn push(&mut self, bytes: &[u8], records: usize) -> Result<()> {
        self.hasher.update(bytes);
        self.header.records += records as u64;
        self.file.write(bytes)
    }

    fn finish(mut self) -> Result<Written> {
        let hash = self.hasher.finalize();
        self.header.content_hash = *hash.as_bytes();
        self.file.patch_start(&self.header.to_bytes())?;
        self.file.commit()?;
        Ok(Written { records: self.header.records, hash_hex: hash.to_hex().to_string() })
    }
}

/// What [`WorkloadWriter::finish`] has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Records in the file.
    pub records: u64,
    /// Hash of the content, as [`Workload::hash_hex`].
    pub hash_hex: String,
}

/// Writes a workload as its invocations are drawn, in constant memory.
pub struct WorkloadWriter {
    path: PathBuf,
    body: Body,
    last: Instant,
}

impl WorkloadWriter {
    /// Begins the file at `path`. Of `head` everything but the invocations is taken.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be created; [`Error::Workload`] if `head` is not sound.
    pub fn create(path: &Path, head: &Workload) -> Result<Self> {
        let without = Workload { invocations: Records::default(), ..head.clone() };
        without.validate()?;
        let front = Front::new(
            Kind::Invocations,
            &head.name,
            &head.provenance,
            &head.functions,
            head.burn_in,
            head.span,
        );
        Ok(Self { path: path.to_owned(), body: Body::create(path, front)?, last: Instant::ZERO })
    }

    /// Appends invocations, which must go on in order of arrival.
    ///
    /// # Errors
    /// [`Error::Workload`] with the first one that is out of order, out of the span or of an
    /// unknown function; [`Error::Io`] if the disk refuses.
    pub fn push(&mut self, invocations: &[Invocation]) -> Result<()> {
        let header = &self.body.header;
        for (row, invocation) in invocations.iter().enumerate() {
            let arrival = invocation.arrival();
            let problem = if arrival < self.last {
                format!("arrives before the one in front of it ({}); sort by arrival", self.last)
            } else if arrival.as_nanos() >= header.span.as_nanos() {
                format!("is not before the end of the workload ({})", header.span)
            } else if u64::from(invocation.function().0) >= header.functions {
                format!("names function {}, the table has {}", invocation.function().0, header.functions)
            } else {
                self.last = arrival;
                continue;
            };
            let row = header.records + row as u64;
            let name = self.path.display().to_string();
            return Err(Error::Workload { name, problem: format!("invocation {row} ({arrival}) {problem}") });
        }
        self.body.push(as_bytes(invocations), invocations.len())
    }

    /// Appends all of an iterator.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn extend(&mut self, invocations: impl IntoIterator<Item = Invocation>) -> Result<()> {
        let mut batch = Vec::with_capacity(1 << 14);
        for invocation in invocations {
            batch.push(invocation);
            if batch.len() == batch.capacity() {
                self.push(&batch)?;
                batch.clear();
            }
        }
        self.push(&batch)
    }

    /// Completes the header and moves the file to its place.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk refuses.
    pub fn finish(self) -> Result<Written> {
        self.body.finish()
    }
}

#[cfg(test)]
#[path = "binary_tests.rs"]
mod tests;
