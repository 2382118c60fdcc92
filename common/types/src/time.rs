//! Time as the API writes it: RFC 3339 in seconds (`Time`) and in microseconds (`MicroTime`).
