//! What a key must be, found out from the checks themselves: each check is given values and seen to
//! accept or refuse them. So the reference and the schema cannot say anything that checking does not do.

use crate::section::Parse;
use crate::tree::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a key may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// One value.
    Value(Kind, Need),
    /// A list of such values.
    List(Kind),
    /// One of these words, or a list of them where the key holds a list.
    Words(BTreeSet<String>),
    /// Exactly one of these, as a text or as a table of its own.
    Choice(Vec<&'static str>),
    /// A table.
    Table,
    /// Tables in a list.
    Tables,
}

/// Whether a key has to be there, in what all layers put together say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    MayBeLeftOut,
    Needed,
}

/// One kind of value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    /// As complaints call it, with its article: `a duration`.
    pub name: String,
    /// Units, where it has any.
    pub units: Vec<String>,
    /// Least number, and whether that one is refused itself.
    pub least: Option<(i64, bool)>,
    /// Largest number.
    pub most: Option<u64>,
}

/// By dotted key. Items of a list of tables are `key[]`, freely named tables `*`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forms {
    pub all: BTreeMap<String, BTreeSet<Form>>,
}

impl Forms {
    /// Notes what a key must be. `path` has its lists' items numbered: `figures-2.kind`.
    pub fn add(&mut self, path: &str, form: Form) {
        let key = self.general(path);
        self.all.entry(key).or_default().insert(form);
    }

    /// Everything that another one has.
    pub fn merge(&mut self, other: Self) {
        for (key, forms) in other.all {
            self.all.entry(key).or_default().extend(forms);
        }
    }

    /// `figures-2.kind` → `figures[].kind`, `override.systems.t-cxl.reuse` → `override.systems.*.reuse`.
    fn general(&self, path: &str) -> String {
        let mut key = String::new();
        for part in split(path) {
            let item = part.rsplit_once('-').filter(|(list, number)| {
                let list = if key.is_empty() { (*list).to_owned() } else { format!("{key}.{list}") };
                number.bytes().all(|byte| byte.is_ascii_digit())
                    && self.all.get(&list).is_some_and(|forms| forms.contains(&Form::Tables))
            });
            let part = match item {
                Some((list, _)) => format!("{list}[]"),
                None if key == "override.systems" => "*".to_owned(),
                None => part.to_owned(),
            };
            if !key.is_empty() {
                key.push('.');
            }
            key.push_str(&part);
        }
        key
    }
}

/// The parts of a dotted key; quoted ones are whole.
pub(crate) fn split(path: &str) -> Vec<&str> {
    let (mut parts, mut from, mut quoted) = (Vec::new(), 0, false);
    for (at, c) in path.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => {
                parts.push(&path[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&path[from..]);
    parts
}

impl Form {
    /// A value that may be left out.
    pub fn of<T>(parse: Parse<T>) -> Self {
        Self::Value(Kind::of(parse), Need::MayBeLeftOut)
    }

    /// A list of values.
    pub fn list<T>(parse: Parse<T>) -> Self {
        Self::List(Kind::of(parse))
    }

    /// The same, and it has to be there.
    pub fn needed(self) -> Self {
        match self {
            Self::Value(kind, _) => Self::Value(kind, Need::Needed),
            other => other,
        }
    }
}

impl Kind {
    /// What a check accepts.
    fn of<T>(parse: Parse<T>) -> Self {
        let takes = |value: &Value| parse(value).is_ok();
        let complaint = |value: Value| parse(&value).err().unwrap_or_default();
        let name = complaint(Value::Date(String::new()));
        let name = name.split(" where ").nth(1).unwrap_or("a value");
        let name = name.split(" belongs").next().unwrap_or(name).to_owned();
        // A unit that nobody has: the complaint lists those that there are.
        let units = complaint(Value::Text("1 ?".to_owned()));
        let units: Vec<String> = units
            .split_once("its unit must be one of ")
            .map(|(_, list)| list.split(", ").map(str::to_owned).collect())
            .unwrap_or_default();
        if let Some(unit) = units.first() {
            let zero = takes(&Value::Text(format!("0 {unit}")));
            return Self { name, least: Some((0, !zero)), most: None, units };
        }
        if !takes(&Value::Integer(1)) {
            return Self { name, units, least: None, most: None };
        }
        let least = match (takes(&Value::Integer(-1)), takes(&Value::Integer(0))) {
            (true, _) => None,
            (false, true) => Some((0, false)),
            (false, false) if takes(&Value::Float(0.5)) => Some((0, true)),
            (false, false) => Some((1, false)),
        };
        let name = if takes(&Value::Float(1.5)) || takes(&Value::Float(0.5)) {
            name
        } else {
            "a whole number".to_owned()
        };
        Self { name, units, least, most: largest(&takes) }
    }

    /// Whether it is a whole number.
    pub fn is_whole(&self) -> bool {
        self.name == "a whole number"
    }
}

/// The largest whole number that is accepted; `None` if there is no end to them.
fn largest(takes: &dyn Fn(&Value) -> bool) -> Option<u64> {
    let takes = |n: u64| takes(&Value::Integer(n.into()));
    let (mut low, mut high) = (1, u64::MAX);
    if takes(high) {
        return None;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if takes(middle) { low = middle } else { high = middle }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values;

    fn kind(name: &str, units: &[&str], least: Option<(i64, bool)>, most: Option<u64>) -> Kind {
        Kind { name: name.into(), units: units.iter().map(|u| (*u).to_owned()).collect(), least, most }
    }

    #[test]
    fn a_check_is_described_by_what_it_takes() {
        assert_eq!(Kind::of(values::flag), kind("true or false", &[], None, None));
        assert_eq!(Kind::of(values::text), kind("a text", &[], None, None));
        assert_eq!(
            Kind::of(values::count),
            kind("a whole number", &[], Some((1, false)), Some(u32::MAX.into()))
        );
        assert_eq!(Kind::of(values::whole), kind("a whole number", &[], Some((0, false)), None));
        assert_eq!(Kind::of(values::percent), kind("a whole number", &[], Some((0, false)), Some(100)));
        assert_eq!(Kind::of(values::share), kind("a number", &[], Some((0, false)), Some(1)));
        assert_eq!(Kind::of(values::factor), kind("a number", &[], Some((0, true)), None));
        assert_eq!(Kind::of(values::number), kind("a number", &[], None, None));
        let durations = ["ns", "us", "ms", "s", "min", "h", "d"];
        assert_eq!(
            Kind::of(values::positive_duration),
            kind("a duration", &durations, Some((0, true)), None)
        );
        assert_eq!(Kind::of(values::duration), kind("a duration", &durations, Some((0, false)), None));
    }

    #[test]
    fn numbered_items_are_those_of_their_list() {
        let mut forms = Forms::default();
        forms.add("figures", Form::Tables);
        forms.add("figures-12.kind", Form::Table);
        forms.add("override.systems.\"e2b+\".reuse", Form::Table);
        forms.add("workload.azure-2019.window", Form::Table);
        let keys: Vec<&str> = forms.all.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["figures", "figures[].kind", "override.systems.*.reuse", "workload.azure-2019.window"]
        );
    }
}
