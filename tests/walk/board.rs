//! What a walk tells the process that started it, in memory that both have.

use std::sync::atomic::{AtomicU32, Ordering};

use rawmap_core::{MmapOptions, MmapRaw};

use crate::step::{CALLS, EVENTS, Step};

const ORDER: Ordering = Ordering::Relaxed;
/// The status of a walk that broke a promise.
pub const BROKEN: i32 = 3;
/// And of one that died of a fault.
pub const DIED: i32 = 4;
const TEXT: usize = 1 << 14;
const PAIRS: usize = 32 * 32;

/// No call comes after that event.
const NEVER: &[(&str, &str)] = &[
    // A device has all its room.
    ("Reserve", "TakeOut"),
];

/// The first word is the step that is under way, the second the length of the text, then the text, then the counts.
pub struct Board(MmapRaw);

impl Board {
    pub fn new() -> Self {
        let len = 8 + TEXT + PAIRS * 4;
        Self(
            MmapOptions::new()
                .len(len)
                .map_anon_shared()
                .expect("a few pages"),
        )
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset + 4 <= self.0.len());
        // SAFETY: aligned, in the map by the line above, and only used as an atomic.
        unsafe { AtomicU32::from_ptr(self.0.as_mut_ptr().add(offset).cast()) }
    }

    pub fn begin(&self) {
        self.word(0).store(0, ORDER);
        self.word(4).store(0, ORDER);
    }

    pub fn at(&self, step: usize) {
        self.word(0).store(step as u32, ORDER);
    }

    pub fn step(&self) -> usize {
        self.word(0).load(ORDER) as usize
    }

    pub fn tell(&self, text: &str) {
        let text = &text.as_bytes()[..text.len().min(TEXT)];
        // SAFETY: inside the map, and the other process reads after this one has ended.
        unsafe {
            self.0
                .as_mut_ptr()
                .add(8)
                .copy_from_nonoverlapping(text.as_ptr(), text.len())
        };
        self.word(4).store(text.len() as u32, ORDER);
    }

    pub fn told(&self) -> String {
        let len = self.word(4).load(ORDER) as usize;
        let mut text = vec![0; len.min(TEXT)];
        // SAFETY: as in `tell`.
        unsafe {
            self.0
                .as_ptr()
                .add(8)
                .copy_to_nonoverlapping(text.as_mut_ptr(), text.len())
        };
        String::from_utf8_lossy(&text).into_owned()
    }

    fn pair(&self, call: usize, event: usize) -> &AtomicU32 {
        self.word(8 + TEXT + (call * EVENTS.len() + event) * 4)
    }

    /// A call was made after these events.
    pub fn count(&self, call: &Step, happened: &[bool]) {
        const { assert!(CALLS.len() * EVENTS.len() <= PAIRS) };
        let name = call.name();
        let call = CALLS
            .iter()
            .position(|call| *call == name)
            .expect("it is in the list");
        for (event, _) in happened
            .iter()
            .enumerate()
            .filter(|(_, happened)| **happened)
        {
            self.pair(call, event).fetch_add(1, ORDER);
        }
    }

    /// How often each call came after each event.
    pub fn print(&self) {
        let short: Vec<_> = EVENTS
            .iter()
            .map(|event| &event[..event.len().min(7)])
            .collect();
        println!(
            "{:15} {}",
            "",
            short.iter().map(|e| format!("{e:>8}")).collect::<String>()
        );
        for (number, call) in CALLS.iter().enumerate() {
            let counts = (0..EVENTS.len()).map(|event| self.pair(number, event).load(ORDER));
            println!(
                "{call:15} {}",
                counts.map(|n| format!("{n:8}")).collect::<String>()
            );
        }
    }

    /// The pairs that were met less often than that, but those that never can be.
    pub fn missing(&self, least: u32) -> Vec<String> {
        let mut missing = Vec::new();
        for (number, call) in CALLS.iter().enumerate() {
            for (event, name) in EVENTS.iter().enumerate() {
                let met = self.pair(number, event).load(ORDER);
                if met < least && !NEVER.contains(&(call, name)) {
                    missing.push(format!("{call} after {name}: {met}"));
                }
            }
        }
        missing
    }
}
