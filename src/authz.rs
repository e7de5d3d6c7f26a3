//! The rules of the gate: who may pass to a protected resource.
