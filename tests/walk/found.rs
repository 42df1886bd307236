//! Walks that broke a promise once.

use libtest_mimic::Failed;
use rawmap_tests::disk::On;
use rawmap_tests::skip;

use crate::board::Board;
use crate::ground::Ground;
use crate::step::At;
use crate::step::Kind::{Flash, Raw, Tracked};
use crate::step::Refused::{Fallocate, Munmap};
use crate::step::Step::{self, *};
use crate::try_walk;

/// Its seed, where, and the steps.
type Found = (&'static str, Option<On>, &'static [Step]);

const FOUND: &[Found] = &[
    // A chip said that it had stored bytes past the end of the file.
    (
        "49",
        None,
        &[
            Map {
                slot: 2,
                kind: Flash,
                file: 0,
                from: At(0, 65535),
                pages: 8,
                contained: true,
                scattered: false,
            },
            Commit(2, false),
        ],
    ),
    // Nothing was pending, so the failure was not told.
    (
        "5449",
        Some(On::Device),
        &[
            Fail,
            Map {
                slot: 1,
                kind: Tracked,
                file: 0,
                from: At(0, 0),
                pages: 1,
                contained: false,
                scattered: false,
            },
            Retry(1),
            StartWriteback(1),
        ],
    ),
    // The file was longer after that.
    (
        "49899063706",
        Some(On::Ext4),
        &[
            Map {
                slot: 0,
                kind: Raw,
                file: 0,
                from: At(0, 0),
                pages: 0,
                contained: false,
                scattered: false,
            },
            ProtectAll(0, 0),
            Grow(0, 12),
        ],
    ),
    // munmap(2) was refused once, and then took the page behind the map, too.
    (
        "287",
        Some(On::Device),
        &[
            Map {
                slot: 0,
                kind: Raw,
                file: 0,
                from: At(0, 0),
                pages: 1,
                contained: false,
                scattered: false,
            },
            Refuse(Munmap, 5, 1),
            Unmap(0),
        ],
    ),
    // The room was refused, and then munmap(2) of the new pages: the map stayed long, and the file short.
    (
        "589",
        None,
        &[
            Map {
                slot: 0,
                kind: Raw,
                file: 0,
                from: At(0, 0),
                pages: 1,
                contained: false,
                scattered: false,
            },
            Refuse(Fallocate, 2, 0),
            Refuse(Munmap, 1, 0),
            Grow(0, 3),
        ],
    ),
];

pub fn all() -> Result<(), Failed> {
    let board = Board::new();
    for (seed, on, steps) in FOUND {
        let ground = match Ground::fresh(*on) {
            Ok(ground) => ground,
            Err(reason) => {
                skip("walk::found", &reason);
                return Ok(());
            }
        };
        try_walk(&ground, steps, &board).map_err(|error| format!("{seed}: {error}"))?;
    }
    Ok(())
}
