//! Pod volumes: materialise, update atomically, tear down.
