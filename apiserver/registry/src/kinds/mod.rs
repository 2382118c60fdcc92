//! The kinds, a file each, by group.
