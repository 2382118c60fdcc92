//! The pure scheduler: snapshot, queues, cycle, framework, preemption.
