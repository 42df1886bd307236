//! What a hostile reader of the format found: damage to a table, drops beside a segment that is begun, files that were begun by a
//! process that was killed, and heads that are right and follow nothing.

use rawmap_core::Error;
use rawmap_core::record::{Backing, Layout, Part, Problem, Reader, Store, layout};

/// Bytes that a program sees, and those that are stored.
struct Memory {
    live: Vec<u8>,
    disk: Vec<u8>,
}

impl Memory {
    fn of(disk: Vec<u8>) -> Self {
        let live = disk.clone();
        Self { live, disk }
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        &self.live
    }
}

impl Backing for Memory {
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        Ok(&mut self.live[offset..offset + len])
    }

    fn commit(&mut self, offset: usize, len: usize) -> Result<(), Error> {
        self.disk[offset..offset + len].copy_from_slice(&self.live[offset..offset + len]);
        Ok(())
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        self.commit(0, self.live.len())
    }

    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    fn retry(&mut self) -> Result<(), Error> {
        self.commit_all()
    }
}

fn open<const N: usize>(disk: Vec<u8>, layout: Layout<N>) -> Result<Store<Memory, N>, Error> {
    Ok(Store::open(Memory::of(disk), layout)?)
}

/// The first byte of each record, or 0 of one that is damaged.
fn records(disk: &[u8], name: &str) -> Vec<u8> {
    let reader = Reader::new(disk).unwrap();
    let records = reader.records(name).unwrap();
    records
        .map(|record| record.map_or(0, |bytes| bytes.first().copied().unwrap_or(b'-')))
        .collect()
}

const SECTOR: usize = 512;
const FIRST: Layout<1> = layout!(512, "edges", 1, [Part::slots("value", 8)]);
const SECOND: Layout<2> = layout!(
    512,
    "edges",
    2,
    [
        Part::slots("value", 8),
        Part::log("log", 4 * 1024).segment(1024)
    ]
);
/// Where the second copy of the table is.
const COPY: usize = 1024;

#[test]
fn damage_to_one_copy_of_the_table_changes_nothing() {
    let new = open(vec![0; FIRST.len()], FIRST).unwrap().into_inner().disk;
    let mut disk = new.clone();
    disk.resize(SECOND.len(), 0);
    let upgraded = Store::upgrade(Memory::of(disk), SECOND, |_, _| Ok(()));
    let mut store = upgraded.unwrap();
    for byte in b"abcde" {
        store.log("log").unwrap().append(&[*byte; 20]).unwrap();
        store.commit().unwrap();
    }
    let upgraded = store.into_inner().disk;
    for copy in [0, COPY] {
        for at in [0, 5, 30, 60] {
            let mut disk = new.clone();
            disk[copy + at] ^= 4;
            open(disk, FIRST).unwrap();
            // It stays what it is, for the newer program and for the older one.
            let mut disk = upgraded.clone();
            disk[copy + at] ^= 4;
            let again = Store::upgrade(Memory::of(disk.clone()), SECOND, |_, from| {
                panic!("upgraded again from {from}")
            });
            assert_eq!(records(&again.unwrap().into_inner().disk, "log"), b"abcde");
            disk.truncate(FIRST.len());
            let (found, want) = (2, 1);
            assert_eq!(
                open(disk, FIRST).map(drop),
                Err(Error::Record(Problem::Version { found, want }))
            );
        }
    }
}

#[test]
fn bytes_that_are_edited_first_store_what_was_found() {
    const PLAIN: Layout<2> = layout!(
        512,
        "plain",
        1,
        [Part::slots("value", 8), Part::bytes("plain", 512)]
    );
    let made = open(vec![0; PLAIN.len()], PLAIN).unwrap().into_inner();
    // A process was killed before any of it was stored.
    let left = Memory {
        disk: vec![0; PLAIN.len()],
        live: made.live,
    };
    let mut store = Store::open(left, PLAIN).unwrap();
    store.edit("plain", 0, 3).unwrap().copy_from_slice(b"new");
    // A cut leaves what was edited.
    let Memory { live, mut disk } = store.into_inner();
    let at = PLAIN.parts()[1].offset();
    disk[at..at + SECTOR].copy_from_slice(&live[at..at + SECTOR]);
    assert_eq!(
        &open(disk, PLAIN).unwrap().bytes("plain").unwrap()[..3],
        b"new"
    );
}

/// The process was killed while it wrote the first table: any number of its first bytes are there.
#[test]
fn a_table_of_which_a_part_was_written_is_a_begin() {
    let whole = open(vec![0; FIRST.len()], FIRST).unwrap().into_inner().disk;
    for written in 4..SECTOR {
        let mut disk = vec![0; FIRST.len()];
        disk[..written].copy_from_slice(&whole[..written]);
        open(disk, FIRST).unwrap();
    }
    // Not where there is more than that.
    let mut disk = vec![0; FIRST.len()];
    disk[..24].copy_from_slice(&whole[..24]);
    disk[26] = 1;
    let damaged = Error::Record(Problem::Damaged { offset: 0 });
    assert_eq!(open(disk, FIRST).map(drop), Err(damaged));
}

#[test]
fn a_drop_is_stored_after_what_it_makes_room_for() {
    const RING: Layout<1> = layout!(
        512,
        "ring",
        1,
        [Part::log("log", 2 * 1024).segment(1024).apart()]
    );
    let mut store = open(vec![0; RING.len()], RING).unwrap();
    for byte in b"AB" {
        store.log("log").unwrap().append(&[*byte; 976]).unwrap();
        store.commit().unwrap();
    }
    // In the place of A.
    store.log("log").unwrap().append(&[b'C'; 976]).unwrap();
    assert_eq!(store.log("log").unwrap().drop_oldest(), Ok(true));
    let at = RING.parts()[0].offset() + 1024;
    let Memory { live, disk } = store.into_inner();
    let (mut spoiled, mut stored) = (disk.clone(), disk.clone());
    spoiled[at..at + SECTOR].fill(0x5A);
    stored[at..at + SECTOR].copy_from_slice(&live[at..at + SECTOR]);
    assert_eq!(records(&disk, "log"), b"BC");
    assert_eq!(records(&stored, "log"), b"C");
    // Of B, which was to go, damage is told. C is there.
    assert_eq!(records(&spoiled, "log").last(), Some(&b'C'));
}

/// Heads that are right, at each place where one could be, and follow nothing. With a look at the bytes of each this was minutes.
#[test]
fn right_heads_that_follow_nothing_are_passed_soon() {
    const SEGMENT: usize = 256 << 10;
    const LARGE: Layout<1> = layout!(
        65536,
        "large",
        1,
        [Part::log("log", 2 * SEGMENT).segment(SEGMENT)]
    );
    let mut store = open(vec![0; LARGE.len()], LARGE).unwrap();
    store.log("log").unwrap().append(b"x").unwrap();
    store.commit().unwrap();
    let whole = store.into_inner().disk;
    let offset = LARGE.parts()[0].offset();
    for is_long in [false, true] {
        let mut disk = whole.clone();
        for at in (128..SEGMENT - 16).step_by(16) {
            let len = if is_long { SEGMENT - at - 16 } else { 0 };
            // Of another record each.
            let head = head(at, len as u32 + 1, 96 + at as u32 / 2 / 16 * 16);
            disk[offset + at..][..16].copy_from_slice(&head);
        }
        assert_eq!(records(&disk, "log"), b"x");
        let mut store = open(disk, LARGE).unwrap();
        store.log("log").unwrap().append(b"y").unwrap();
        store.commit().unwrap();
        assert_eq!(records(&store.into_inner().disk, "log"), b"xy");
    }
    // A long one that is damaged and a whole one without bytes, again and again: each is the first of a batch.
    let mut disk = whole;
    for at in (64..SEGMENT / 2).step_by(32) {
        let (long, first) = (SEGMENT as u32 / 2 - 63, 1 << 31);
        disk[offset + at..][..16].copy_from_slice(&head(at, long | first, at as u32));
        let next = at + 16;
        disk[offset + next..][..16].copy_from_slice(&head(next, 1 | first, next as u32));
    }
    assert!(records(&disk, "log").starts_with(b"x\0"));
    let mut store = open(disk, LARGE).unwrap();
    store.log("log").unwrap().append(b"y").unwrap();
    store.commit().unwrap();
    assert!(records(&store.into_inner().disk, "log").ends_with(b"y"));
}

/// A right head of a record of segment 1 that is whole if it has no bytes.
fn head(at: usize, first: u32, before: u32) -> [u8; 16] {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let (first, before) = (first.to_le_bytes(), before.to_le_bytes());
    let mut sum = crc.digest();
    for part in [
        &1_u64.to_le_bytes()[..],
        &(at as u32).to_le_bytes(),
        &first,
        &before,
    ] {
        sum.update(part);
    }
    let check = sum.finalize().to_le_bytes();
    let bytes = crc.checksum(&check).to_le_bytes();
    let mut head = [0; 16];
    head.copy_from_slice([first, check, bytes, before].as_flattened());
    head
}
