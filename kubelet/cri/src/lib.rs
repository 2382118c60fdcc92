//! The container runtime behind one trait: CRI client and the fake beside it.
