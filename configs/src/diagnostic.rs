//! What is wrong with a configuration: all of it at once, each with its place and what to do.

use crate::source::{Origin, Sources};
use std::fmt;
use std::path::Path;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// File as opened, or `--set KEY=VALUE`.
    pub file: String,
    /// Line and column from 1; `None` where there is no text to point at.
    pub position: Option<(usize, usize)>,
    /// Dotted path of the key; empty where the problem is not about one.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
    excerpt: Option<Box<Excerpt>>,
}

/// The line that a problem points at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    line: String,
    width: usize,
}

/// Every problem of one load, in the order of the files' text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    items: Vec<Diagnostic>,
}

impl Diagnostic {
    /// A problem with a value or key at `origin`.
    pub(crate) fn at(sources: &Sources, origin: Origin, key: &str, message: impl Into<String>) -> Self {
        let source = sources.of(origin);
        let (line, column, text) = source.line_of(origin.start());
        let room = text.chars().count().saturating_sub(column - 1).max(1);
        let width = sources.written(origin).lines().next().unwrap_or("").chars().count().clamp(1, room);
        Self {
            file: source.name.clone(),
            position: source.is_file.then_some((line, column)),
            key: key.to_owned(),
            message: message.into(),
            excerpt: source.is_file.then(|| Box::new(Excerpt { line: text.to_owned(), width })),
        }
    }

    /// A problem with a whole file.
    pub(crate) fn file(path: &Path, message: impl Into<String>) -> Self {
        Self::named(path.display().to_string(), message)
    }

    /// A problem with something that is no file.
    pub(crate) fn named(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { file: name.into(), position: None, key: String::new(), message: message.into(), excerpt: None }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let (Some(excerpt), Some((line, column))) = (&self.excerpt, self.position) {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            let indent: String =
                excerpt.line.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(
                f,
                "\n{margin} |\n{number} | {}\n{margin} | {indent}{}",
                excerpt.line.trim_end(),
                "^".repeat(excerpt.width)
            )?;
        }
        Ok(())
    }
}

impl Diagnostics {
    /// From problems as found: doubles dropped, those of one file sorted by place.
    pub(crate) fn new(found: Vec<Diagnostic>) -> Self {
        let mut items: Vec<Diagnostic> = Vec::new();
        for diagnostic in found {
            if !items.contains(&diagnostic) {
                items.push(diagnostic);
            }
        }
        items.sort_by(|a, b| (&a.file, a.position).cmp(&(&b.file, b.position)));
        Self { items }
    }

    /// The problems.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.items.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none (never true of an error).
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(one: Diagnostic) -> Self {
        Self { items: vec![one] }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.items.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{item}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
