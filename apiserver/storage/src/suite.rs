//! The behaviour every [`crate::Store`] must show, as one suite each implementation runs.
