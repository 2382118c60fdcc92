//! Resource quantities (`100m`, `1.5Gi`): exact arithmetic and canonical printing.
