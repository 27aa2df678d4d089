//! Implementations of the ports, one folder per system; they do not import each other.
