//! What can go wrong with a trace or a workload file: one message each, naming the place, what was
//! expected and what to do.

/// Anything that this package reports instead of a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system or a decompressor refused.
    #[error("{path}: cannot {action}: {cause}")]
    Io {
        /// File in question.
        path: String,
        /// What was tried, as a verb.
        action: &'static str,
        /// The system's own words (part of the message, so not a `source` beside it).
        cause: std::io::Error,
    },

    /// A file that a command needs is not there.
    #[error("{path}: no such file; {remedy}")]
    MissingFile {
        /// File in question.
        path: String,
        /// Where it comes from.
        remedy: String,
    },

    /// A folder where a file is meant.
    #[error("{path}: is a folder; expected a trace or workload file: name one of its files")]
    Folder {
        /// The folder.
        path: String,
    },

    /// One field of one row does not read as what its column holds.
    #[error("{file}:{line}: column \"{column}\": \"{found}\" is not {expected}; correct or remove this row")]
    Field {
        /// File in question.
        file: String,
        /// Line, counted from 1.
        line: u64,
        /// Column by its header name.
        column: String,
        /// The field's text.
        found: String,
        /// What the column holds.
        expected: &'static str,
    },

    /// A row with too few or too many fields.
    #[error(
        "{file}:{line}: the row has {found} fields, the header has {expected}; the row is cut short or has \
         stray commas"
    )]
    Row {
        /// File in question.
        file: String,
        /// Line, counted from 1.
        line: u64,
        /// Fields in the row.
        found: usize,
        /// Fields in the header.
        expected: usize,
    },

    /// A column that the format requires is absent.
    #[error(
        "{file}: no column \"{column}\", which {format} requires (found: {found}); is this another format?"
    )]
    Column {
        /// File in question.
        file: String,
        /// Column by its header name.
        column: String,
        /// The format that requires it.
        format: &'static str,
        /// The first few columns that are there.
        found: String,
    },

    /// The same function twice in one table.
    #[error(
        "{file}:{line}: {what} is here a second time (first on line {first}); remove one of the rows, or drop \
         all but the first with --malformed drop"
    )]
    Repeated {
        /// File in question.
        file: String,
        /// Line of the second occurrence, counted from 1.
        line: u64,
        /// What is repeated.
        what: String,
        /// Line of the first occurrence.
        first: u64,
    },

    /// A function whose durations are unknown.
    #[error(
        "{file}:{line}: function {function} has no row in {durations}; give the durations file of the same \
         day, or drop such functions with --unjoined drop"
    )]
    Unjoined {
        /// The invocations file.
        file: String,
        /// Line of the function, counted from 1.
        line: u64,
        /// The function's key.
        function: String,
        /// The durations file.
        durations: String,
    },

    /// The data contradict themselves in a way that no single field shows.
    #[error("{file}: {problem}; {remedy}")]
    Table {
        /// File in question.
        file: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },

    /// Service times are in neither the trace nor the request.
    #[error(
        "no service time for function \"{function}\"; give one (for example --service-time \"{function}=100 ms\")"
    )]
    NoServiceTime {
        /// The function's name.
        function: String,
    },

    /// A trace that holds no durations was to become a workload.
    #[error(
        "{file}: {format} holds no durations; give a duration source (--service-time '100 ms', or a companion \
         table with --durations FILE)"
    )]
    NoDurations {
        /// File in question.
        file: String,
        /// The format.
        format: &'static str,
    },

    /// A name that is not in a list of known names.
    #[error("there is no {kind} \"{given}\"{hint} (known: {known})")]
    UnknownName {
        /// Kind of thing.
        kind: &'static str,
        /// What was given.
        given: String,
        /// `; did you mean …?`, or nothing.
        hint: String,
        /// Everything that would have been accepted.
        known: String,
    },

    /// A value outside its range.
    #[error("{what}: {problem}; expected {expected}")]
    Value {
        /// The parameter.
        what: String,
        /// What is wrong with it.
        problem: String,
        /// What is accepted.
        expected: String,
    },

    /// A workload that breaks its own rules.
    #[error("workload \"{name}\": {problem}")]
    Workload {
        /// The workload's name.
        name: String,
        /// Which rule, and where.
        problem: String,
    },

    /// Not a workload file at all.
    #[error(
        "{path}: not a trenvx workload file (its first bytes are {found}); import it with `trenvx trace import`"
    )]
    Foreign {
        /// File in question.
        path: String,
        /// The first bytes, escaped.
        found: String,
    },

    /// A workload file of another version of the format.
    #[error(
        "{path}: workload file version {found}, this program reads version {expected}; import the trace again"
    )]
    Version {
        /// File in question.
        path: String,
        /// Version in the file.
        found: u32,
        /// Version that is read.
        expected: u32,
    },

    /// A workload file that holds another kind of record.
    #[error("{path}: holds {found}, not {expected}")]
    Kind {
        /// File in question.
        path: String,
        /// What it holds.
        found: &'static str,
        /// What was asked for.
        expected: &'static str,
    },

    /// A workload file that is too short or too long.
    #[error("{path}: truncated: {found} bytes, expected {expected}; copy or generate it again")]
    Truncated {
        /// File in question.
        path: String,
        /// Bytes there are.
        found: u64,
        /// Bytes that its header announces.
        expected: u64,
    },

    /// A workload file whose content is not what was written.
    #[error("{path}: corrupt: {problem}; copy or generate it again")]
    Corrupt {
        /// File in question.
        path: String,
        /// What shows it.
        problem: String,
    },
}

/// A result of this package.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "so that callers may give a name, a `String` or a `Display`"
    )]
    /// Wraps an input/output error with the file and what was tried.
    pub(crate) fn io(path: impl ToString, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_string();
        move |cause| Self::Io { path, action, cause }
    }

    /// An unknown name, with the nearest known one as a hint.
    pub(crate) fn unknown_name(kind: &'static str, given: &str, known: &[&str]) -> Self {
        let hint = match crate::names::nearest(given, known) {
            Some(name) => format!("; did you mean \"{name}\"?"),
            None => String::new(),
        };
        Self::UnknownName { kind, given: given.to_owned(), hint, known: known.join(", ") }
    }

    #[expect(clippy::needless_pass_by_value, reason = "so that callers may give a value or a text")]
    /// A parameter out of range.
    pub(crate) fn value(what: impl ToString, problem: impl ToString, expected: impl ToString) -> Self {
        Self::Value { what: what.to_string(), problem: problem.to_string(), expected: expected.to_string() }
    }
}
