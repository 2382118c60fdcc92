//! Names: the DNS and qualified-name rules with upstream's messages, and generated suffixes.
