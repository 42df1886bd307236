//! What the host and the guest of a virtual machine must agree on: the job, the workload of a power-cut
//! run, and the model of what it promises. The guest itself is `main.rs`.

pub mod job;
pub mod model;
pub mod piece;
pub mod record;
pub mod workload;
