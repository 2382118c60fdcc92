//! Who is asking, and may they: certificates, service account tokens, RBAC, the Node authorizer, bootstrap roles.
