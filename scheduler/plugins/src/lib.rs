//! The default scheduling plugins, a file each.
