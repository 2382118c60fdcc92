//! gRPC contracts the node speaks (CRI).
