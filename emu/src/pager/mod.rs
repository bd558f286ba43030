//! The page server: fills faults of attached templates through userfaultfd.
