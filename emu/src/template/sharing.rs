//! Pages that are alike, within a template and across those of a store.

use std::collections::HashMap;

use super::error::Error;
use super::pages::{ABSENT, PAGE, PageHash};
use super::store::Store;

/// What pages are in a store, and how many of them are alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sharing {
    /// Pages of all templates.
    pub pages: u64,
    /// Of these, such as are in the same template before.
    pub duplicates_within: u64,
    /// Of the others, such as are in an earlier template.
    pub duplicates_across: u64,
    /// Bytes of one copy of each.
    pub unique_bytes: u64,
    /// For each template: its identity, function, pages, duplicates within, duplicates of earlier templates.
    pub templates: Vec<SharingRow>,
    /// Those that could not be read, each with the reason.
    pub unreadable: Vec<String>,
}

/// One template's part of a [`Sharing`].
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SharingRow {
    /// Identity.
    pub id: String,
    /// Function.
    pub function: String,
    /// Pages that it holds.
    pub pages: u64,
    /// Of these, such as it holds more than once.
    pub duplicates_within: u64,
    /// Of the others, such as an earlier template holds.
    pub duplicates_across: u64,
}

impl Store {
    /// Finds pages that are alike, in all templates that can be read.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn sharing(&self) -> Result<Sharing, Error> {
        let mut sharing = Sharing::default();
        // Page → the last template that had it.
        let mut seen: HashMap<PageHash, usize> = HashMap::new();
        for (nth, id) in self.ids()?.into_iter().enumerate() {
            let read = self
                .find(&id)
                .and_then(|template| Ok((template.table()?, template.manifest().function.clone())));
            let (table, function) = match read {
                Ok(read) => read,
                Err(error) => {
                    sharing.unreadable.push(error.to_string());
                    continue;
                }
            };
            let mut row = SharingRow { id, function, ..SharingRow::default() };
            for hash in table.hashes().iter().filter(|hash| **hash != ABSENT) {
                row.pages += 1;
                match seen.insert(*hash, nth) {
                    Some(last) if last == nth => row.duplicates_within += 1,
                    Some(_) => row.duplicates_across += 1,
                    None => {}
                }
            }
            sharing.pages += row.pages;
            sharing.duplicates_within += row.duplicates_within;
            sharing.duplicates_across += row.duplicates_across;
            sharing.templates.push(row);
        }
        sharing.unique_bytes = (seen.len() * PAGE) as u64;
        Ok(sharing)
    }
}
