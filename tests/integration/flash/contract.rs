//! A `Backing` that does not keep its contract gets an error: never a panic, and never `Ok` with nothing done.

use std::cell::Cell;

use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use embedded_storage::{ReadStorage, Storage};
use rawmap::Error;
use rawmap::adapter::{Backing, Behaviour, Flash, Nor, Overwrite};

/// 64 bytes. From some call on it shows others than it has, and lends others than it is asked for.
struct Liar {
    bytes: Vec<u8>,
    honest: Cell<usize>,
    shows: usize,
    lends: fn(usize) -> usize,
    stored: Cell<(usize, usize)>,
}

impl AsRef<[u8]> for Liar {
    fn as_ref(&self) -> &[u8] {
        match self.honest.get().checked_sub(1) {
            Some(left) => {
                self.honest.set(left);
                &self.bytes
            }
            None => &self.bytes[..self.shows],
        }
    }
}

impl Backing for Liar {
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        Ok(&mut self.bytes[offset..][..(self.lends)(len)])
    }

    fn commit(&mut self, _: usize, _: usize) -> Result<(), Error> {
        self.stored
            .set((self.stored.get().0 + 1, self.stored.get().1));
        Ok(())
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        self.stored
            .set((self.stored.get().0, self.stored.get().1 + 1));
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    fn retry(&mut self) -> Result<(), Error> {
        self.commit_all()
    }
}

fn liar(shows: usize, lends: fn(usize) -> usize) -> Liar {
    Liar {
        bytes: vec![0x5A; 64],
        honest: Cell::new(usize::MAX),
        shows,
        lends,
        stored: Cell::new((0, 0)),
    }
}

type Chip<K> = Flash<Liar, K, 1, 1, 16>;

/// Lends another number of bytes: nothing is changed.
fn lends<K: Behaviour>(lends: fn(usize) -> usize) {
    let mut chip = Chip::<K>::new(liar(64, lends)).unwrap();
    let want = |offset, len: u64| {
        let got = lends(len as usize) as u64;
        Err(Error::Backing { offset, len, got })
    };
    assert_eq!(NorFlash::write(&mut chip, 8, &[0; 8]), want(8, 8));
    // The first word of a block is one byte: of that, half is nothing.
    assert_eq!(chip.erase(16, 32), want(16, 1));
    assert_eq!(chip.get_ref().bytes, [0x5A; 64]);
    assert_eq!(chip.get_ref().stored.get(), (0, 1));
}

#[test]
fn lending_too_little_or_too_much_is_an_error() {
    lends::<Nor>(|len| len / 2);
    lends::<Overwrite>(|len| len / 2);
    lends::<Nor>(|len| len + 1);
    lends::<Overwrite>(|len| len + 1);
    let mut chip = Chip::<Overwrite>::new(liar(64, |_| 0)).unwrap();
    let (offset, len, got) = (3, 5, 0);
    let want = Err(Error::Backing { offset, len, got });
    assert_eq!(Storage::write(&mut chip, 3, &[0; 5]), want);
}

/// Stores its first word, what is between, and its last word apart: a block of two words has nothing between.
fn commits_of_an_erase<const WRITE: usize>() -> (usize, usize) {
    let backing = liar(64, |len| len);
    let mut chip = Flash::<_, Overwrite, 1, WRITE, 16>::new(backing).unwrap();
    chip.erase(16, 32).unwrap();
    assert_eq!(chip.get_ref().bytes[16..32], [0xFF; 16]);
    assert_eq!(chip.get_ref().bytes[32..], [0x5A; 32]);
    chip.get_ref().stored.get()
}

#[test]
fn an_erase_goes_from_the_first_word_of_a_block_to_its_last() {
    assert_eq!(commits_of_an_erase::<1>(), (3, 1));
    assert_eq!(commits_of_an_erase::<4>(), (3, 1));
    assert_eq!(commits_of_an_erase::<8>(), (2, 1));
    assert_eq!(commits_of_an_erase::<16>(), (1, 1));
}

#[test]
fn showing_too_little_is_an_error() {
    // It is honest when its length is asked for, and not when its bytes are.
    for honest in 0..2 {
        let mut chip = Chip::<Nor>::new(liar(20, |len| len)).unwrap();
        chip.get_ref().honest.set(honest);
        let mut bytes = [0x77; 32];
        let read = ReadNorFlash::read(&mut chip, 16, &mut bytes);
        let (offset, len, got, limit) = (16, 32, 4, 20);
        assert_eq!(
            read,
            Err(match honest {
                0 => Error::OutOfRange { offset, len, limit },
                _ => Error::Backing { offset, len, got },
            })
        );
        chip.get_ref().honest.set(honest);
        assert!(ReadStorage::read(&mut chip, 16, &mut bytes).is_err());
        assert_eq!(bytes, [0x77; 32]);
        chip.get_ref().honest.set(honest);
        assert!(chip.erase(16, 48).is_err());
    }
}

/// After `get_mut`, and only then, all of the map is stored again.
#[test]
fn what_is_known_to_be_stored_is_known_of_this_map() {
    for durable in [true, false] {
        let mut chip = Chip::<Nor>::buffered(liar(64, |len| len)).unwrap();
        if durable {
            chip = Chip::new(chip.into_inner()).unwrap();
        }
        for round in 0..3 {
            NorFlash::write(&mut chip, round, &[0]).unwrap();
            chip.commit().unwrap();
            chip.erase(0, 16).unwrap();
            chip.commit().unwrap();
            assert_eq!(chip.get_ref().stored.get().1, 1, "{durable} {round}");
            *chip.get_mut() = liar(64, |len| len);
        }
        assert_eq!(chip.get_ref().stored.get(), (0, 0));
    }
}
