//! Groups of pages.
