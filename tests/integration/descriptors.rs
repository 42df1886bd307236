//! Which files a safe call takes: by a value that owns or borrows them, and never by a guessed number.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, AsRawFd, FromRawFd as _, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use rawmap::{Error, MmapAsRawDesc, MmapOptions, MmapRaw, Protection, Shared};

use crate::file_with;

fn can_store(map: &MmapRaw) -> bool {
    let shared: Shared<'_> = map.shared();
    let tries = [
        shared.store(0, 7u32),
        shared.store_release(0, 7u8),
        shared.write(4, b"seven"),
        shared.fill(4, 5, 7),
        shared.fetch_add(0, 1u32).map(drop),
        shared.fetch_xor(0, 1u32).map(drop),
        shared.swap(0, 7u32).map(drop),
        shared.compare_exchange(0, 7u32, 8).map(drop),
        shared.range(0, 8).unwrap().write(0, b"seven"),
    ];
    // All or none.
    let refused = tries
        .iter()
        .filter(|result| **result == Err(Error::Protected));
    match refused.count() {
        0 => {
            tries.into_iter().for_each(|result| result.unwrap());
            true
        }
        count => {
            assert_eq!(count, tries.len(), "{tries:?}");
            false
        }
    }
}

/// A user's type that has nothing but a number.
struct Guess(RawFd);

impl AsRawFd for Guess {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// One that hands on the descriptor of a file that was closed since.
struct Stale(RawFd);

impl MmapAsRawDesc for Stale {
    fn as_raw_desc(&self) -> rawmap::MmapRawDescriptor {
        // SAFETY: a number that is open, for as long as this call.
        let file = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(self.0) });
        (&*file).as_raw_desc()
    }
}

const BYTES: &[u8] = b"private bytes";

fn only_reads<T: MmapAsRawDesc>(file: &File, name: &str, guess: impl Fn() -> T) {
    let with = |options: &MmapOptions| {
        let mut map = options.map_raw(guess()).unwrap();
        assert_eq!(crate::bytes_of(&map), BYTES);
        assert!(!can_store(&map), "{name}");
        // No door leads around that.
        map.protect(Protection::ReadOnly).unwrap();
        map.protect(Protection::ReadWrite).unwrap();
        map.protect_range(Protection::ReadWrite, 0, 3).unwrap();
        assert!(!can_store(&map), "{name}, after protect");
        map.grow(file, 5000).unwrap();
        assert!(!can_store(&map), "{name}, after grow");
        let core = rawmap_core::MmapRaw::from(map);
        assert!(!can_store(&MmapRaw::from(core)), "{name}, through core");
        file.set_len(BYTES.len() as u64).unwrap();
    };
    with(&MmapOptions::new());
    with(MmapOptions::new().keep_file());
    with(MmapOptions::new().scattered());
    with(MmapOptions::new().contained());
    let plain = MmapRaw::map_raw(guess()).unwrap();
    assert!(!can_store(&plain), "{name}, MmapRaw::map_raw");
    // Nor does any find a place on the medium for a hole.
    assert_eq!(plain.prefault_write(0, 1), Err(Error::Protected), "{name}");
    plain.prefault_read(0, 1).unwrap();
    assert_eq!(plain.shared().load::<u8>(0), Ok(b'p'));
}

#[test]
fn no_safe_store_reaches_a_file_by_its_number() {
    let file = file_with(BYTES);
    let number = file.as_raw_fd();
    only_reads(&file, "RawFd", || number);
    only_reads(&file, "&RawFd", || &number);
    let guess = Guess(number);
    only_reads(&file, "a user's type", || &guess);
    only_reads(&file, "what is left of a file", || Stale(number));
    let (shared, boxed) = (Arc::new(Guess(number)), Box::new(number));
    only_reads(&file, "an Arc of a user's type", || &shared);
    only_reads(&file, "a Box of a number", || &boxed);
    let mut bytes = vec![0; BYTES.len()];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).unwrap();
    assert_eq!(bytes, BYTES, "changed");
}

#[test]
fn a_file_that_the_caller_has_can_be_stored_to() {
    let new = || file_with(BYTES);
    fn stores<T: MmapAsRawDesc>(name: &str, file: T) {
        assert!(
            can_store(&MmapOptions::new().map_raw(file).unwrap()),
            "{name}"
        );
    }
    let file = new();
    stores("&File", &file);
    stores("&BorrowedFd", &file.as_fd());
    let owned = OwnedFd::from(new());
    stores("&OwnedFd", &owned);
    stores("&Arc<File>", &Arc::new(new()));
    stores("&Box<File>", &Box::new(new()));
    stores("&Rc<File>", &Rc::new(new()));
    stores("&Arc<OwnedFd>", &Arc::new(owned));
    let mut options = MmapOptions::new();
    let kept = options.keep_file().map_raw(&file).unwrap();
    assert!(can_store(&kept));
    // And core's own, which take no numbers.
    assert!(can_store(
        &rawmap_core::MmapRaw::map_raw(&file).unwrap().into()
    ));
    // A map that only reads stays so.
    assert!(!can_store(
        &MmapOptions::new().map_raw_read_only(&file).unwrap()
    ));
}

#[test]
fn what_has_no_length_has_no_default_length() {
    // SAFETY: gives a new descriptor, or -1.
    let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    assert!(event >= 0);
    // SAFETY: as above.
    let poll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(poll >= 0);
    // SAFETY: new, and owned by nothing else.
    let [event, poll] = [event, poll].map(|fd| unsafe { File::from_raw_fd(fd) });
    let open = |path| File::options().read(true).write(true).open(path).unwrap();
    let socket = std::os::unix::net::UnixStream::pair().unwrap().0;
    let files = [
        ("a socket", File::from(OwnedFd::from(socket))),
        ("an event", event),
        ("an epoll", poll),
        ("/dev/null", open("/dev/null")),
        ("/dev/zero", open("/dev/zero")),
    ];
    for (name, file) in &files {
        let none = Error::NoLength;
        let core = rawmap_core::MmapOptions::new();
        assert_eq!(core.map_raw(file).map(drop), Err(none), "{name}");
        assert_eq!(core.map_raw_read_only(file).map(drop), Err(none), "{name}");
        let std = MmapRaw::map_raw(file).unwrap_err();
        assert_eq!(std.kind(), ErrorKind::InvalidInput, "{name}");
        assert_eq!(Error::from_io(&std), Some(none), "{name}");
        // SAFETY: nothing is mapped.
        let refused = unsafe { rawmap::Mmap::map(file) }.unwrap_err();
        assert_eq!(Error::from_io(&refused), Some(none), "{name}");
    }
    // With a length one of them can be mapped.
    let zero = &files[4].1;
    assert_eq!(
        MmapOptions::new().len(100).map_raw(zero).unwrap().len(),
        100
    );
}

/// What the caller gave is in the text, also where the number is none.
#[test]
fn a_number_that_is_none_is_told_with_the_range() {
    for number in [-1, -100, RawFd::MIN] {
        let mut options = MmapOptions::new();
        let refused = options.offset(8192).len(100).map_raw(number).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "mmap of 100 bytes at offset 8192: EBADF (9)"
        );
    }
}
