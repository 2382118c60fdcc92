//! Three nodes: pods reach each other and every Service through every door, and what ran on a node that died
//! runs on elsewhere, as what is drained from one does.

mod budget;
mod dead;
mod drain;
mod orders;
mod reach;
