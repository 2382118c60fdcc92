//! observe, plan, effects: the one executor behind every controller, with ownership and the staleness barrier.
