//! The async engine: one control loop over the ports.
