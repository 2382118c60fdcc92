//! Three nodes: pods reach each other and every Service through every door, and what ran on a node that died
//! runs on elsewhere.

mod dead;
mod reach;
