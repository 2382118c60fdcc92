//! Pure service proxying: services and slices to a service map to rules.
