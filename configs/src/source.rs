//! Where values were written: files, and options on the command line.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};

/// Everything that was read for one load, so that every value can be traced back.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    all: Vec<Source>,
}

/// One text that values come from.
#[derive(Debug)]
pub(crate) struct Source {
    /// As shown: a path, or `--set KEY=VALUE` and the like.
    pub name: String,
    /// What it says.
    pub text: String,
    /// Folder against which its paths are resolved.
    pub folder: PathBuf,
    /// Whether it is a file: lines and columns mean something.
    pub is_file: bool,
}

/// A range of a source's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    source: usize,
    start: usize,
    end: usize,
}

impl Sources {
    /// Adds a file that was read.
    pub fn add_file(&mut self, path: &Path, text: String) -> usize {
        self.all.push(Source {
            name: path.display().to_string(),
            text,
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
            is_file: true,
        });
        self.all.len() - 1
    }

    /// Adds one `--set KEY=VALUE` or another such option; its paths are relative to the current folder.
    pub fn add_typed(&mut self, option: &str, as_typed: &str, as_toml: String) -> usize {
        self.all.push(Source {
            name: format!("{option} {as_typed}"),
            text: as_toml,
            folder: PathBuf::new(),
            is_file: false,
        });
        self.all.len() - 1
    }

    /// A source by its index.
    pub fn get(&self, index: usize) -> &Source {
        &self.all[index]
    }

    /// The source of a value.
    pub fn of(&self, origin: Origin) -> &Source {
        &self.all[origin.source]
    }

    /// The text of a value, as written.
    pub fn written(&self, origin: Origin) -> &str {
        self.of(origin).text.get(origin.start..origin.end).unwrap_or("")
    }

    /// `file:line`, or the option as typed.
    pub fn place(&self, origin: Origin) -> String {
        let source = self.of(origin);
        if source.is_file {
            format!("{}:{}", source.name, source.line_of(origin.start).0)
        } else {
            source.name.clone()
        }
    }
}

impl Source {
    /// Line and column of a byte offset, both from 1, and the line's text. Columns count characters.
    pub fn line_of(&self, offset: usize) -> (usize, usize, &str) {
        let offset = offset.min(self.text.len());
        let start = self.text[..offset].rfind('\n').map_or(0, |i| i + 1);
        let line = self.text[..start].matches('\n').count() + 1;
        let text = self.text[start..].lines().next().unwrap_or("");
        (line, self.text[start..offset].chars().count() + 1, text)
    }
}

impl Origin {
    /// A range of a source.
    pub fn new(source: usize, range: Range<usize>) -> Self {
        Self { source, start: range.start, end: range.end }
    }

    /// Byte offset of its beginning.
    pub fn start(self) -> usize {
        self.start
    }
}

/// `path` as seen from `folder`, without `.` and, where it can be told without looking at the
/// disk, without `..`.
pub(crate) fn resolve(folder: &Path, path: &str) -> PathBuf {
    let mut resolved = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(resolved.components().next_back(), Some(Component::Normal(_))) =>
            {
                resolved.pop();
            }
            part => resolved.push(part),
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_resolve_against_the_file_that_states_them() {
        let from = |folder: &str, path: &str| resolve(Path::new(folder), path).display().to_string();
        assert_eq!(from("configs/experiments", "../machines/paper.toml"), "configs/machines/paper.toml");
        assert_eq!(from("experiments", "../../traces/data"), "../traces/data");
        assert_eq!(from("configs", "/data/azure"), "/data/azure");
    }

    #[test]
    fn an_offset_is_a_line_and_a_column() {
        let mut sources = Sources::default();
        let index = sources.add_file(Path::new("a.toml"), "one\nµs = 2\n".into());
        assert_eq!(sources.get(index).line_of(0), (1, 1, "one"));
        assert_eq!(sources.get(index).line_of(7), (2, 3, "µs = 2"));
        assert_eq!(sources.get(index).line_of(99), (3, 1, ""));
    }
}
