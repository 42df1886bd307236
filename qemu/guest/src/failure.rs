//! What goes wrong in a guest.

/// Whatever went wrong, as the host will print it.
pub type Failure = Box<dyn std::error::Error>;
