//! The pod network of a node: bridge CNI configuration, routes and vxlan between nodes.
