//! Streaming sub-protocols (exec, attach, port-forward): WebSocket and SPDY, both ends.
