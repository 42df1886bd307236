#![doc = include_str!("../guide/index.md")]
#![cfg_attr(
    not(all(feature = "fault", feature = "critical-section", feature = "record")),
    allow(rustdoc::broken_intra_doc_links, reason = "of what has a feature")
)]

macro_rules! pages {
    ($($name:ident)*) => {
        $(#[doc = include_str!(concat!("../guide/", stringify!($name), ".md"))]
        pub mod $name {})*
    };
}

pages! {
    state_file log many_writers untrusted_peer registers real_time firmware boards from_memmap2 questions
    kernels
}
