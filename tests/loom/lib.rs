//! Nothing: the tests are in `tests/`, for the host only.
