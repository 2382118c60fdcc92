//! Lists and watches from memory over any Store.
