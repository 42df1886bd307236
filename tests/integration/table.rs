//! The table in the docs of `MmapOptions`, cell by cell: each option with each constructor, in both crates.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;

use rawmap::memfd::{Seals, add_seals};
use rawmap_core::Error;
use rawmap_core::memfd::MemfdOptions;

use crate::{file_with, pattern};

const CORE: &str = include_str!("../../core/src/options.rs");
const STD: &str = include_str!("../../std/src/options.rs");

const CONSTRUCTORS: [&str; 12] = [
    "map",
    "map_exec",
    "map_mut",
    "map_copy",
    "map_copy_read_only",
    "map_raw",
    "map_raw_read_only",
    "map_raw_sealed",
    "map_raw_sealed_read_only",
    "map_if_safe",
    "map_anon",
    "map_anon_shared",
];

const LEN: usize = 12_288;

/// The names between backticks.
fn names(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What the docs say: by option and constructor.
fn table() -> BTreeMap<(&'static str, &'static str), &'static str> {
    let mut rows = CORE
        .lines()
        .filter_map(|line| line.trim().strip_prefix("/// |"))
        .map(|row| row.trim_end_matches('|').split('|').collect::<Vec<_>>());
    let head = rows.next().expect("the docs have a table");
    let mut cells = BTreeMap::new();
    for row in rows.filter(|row| row[0].contains('`')) {
        assert_eq!(row.len(), head.len(), "{row:?}");
        for (column, cell) in head.iter().zip(&row).skip(1) {
            for option in names(row[0]) {
                for constructor in names(column) {
                    let twice = cells.insert((option, constructor), cell.trim());
                    assert_eq!(twice, None, "{option} {constructor}");
                }
            }
        }
    }
    cells
}

/// What can be seen of a map.
#[derive(Debug, PartialEq)]
struct Seen {
    len: usize,
    bytes: Vec<u8>,
    flags: Option<String>,
    contained: bool,
}

fn seen(map: &rawmap_core::MmapRaw) -> Seen {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    // The kernel may have merged it with a neighbour: musl's malloc makes such.
    let holds = |line: &str| -> Option<bool> {
        let (from, rest) = line.split_once('-')?;
        let (to, _) = rest.split_once(' ')?;
        let [from, to] = [from, to].map(|word| usize::from_str_radix(word, 16).ok());
        Some((from?..to?).contains(&map.as_ptr().addr()))
    };
    let mut lines = smaps.lines().skip_while(|line| holds(line) != Some(true));
    // The emulator makes up what is read there.
    let flags = lines
        .find(|line| line.starts_with("VmFlags:"))
        .filter(|_| rawmap_tests::emulator().is_none());
    Seen {
        len: map.len(),
        bytes: crate::bytes_of(map),
        flags: flags.map(str::to_owned),
        contained: map.is_contained(),
    }
}

/// The files, each for the constructors that take it.
struct Files {
    disk: File,
    sealed: File,
    sealable: File,
}

impl Files {
    fn new() -> Self {
        let bytes = pattern(LEN);
        let memory = || {
            let mut file = File::from(MemfdOptions::new().create(c"table").unwrap());
            file.write_all(&bytes).unwrap();
            file
        };
        let sealed = memory();
        add_seals(&sealed, Seals::SHRINK | Seals::WRITE).unwrap();
        Self {
            disk: file_with(&bytes),
            sealed,
            sealable: memory(),
        }
    }
}

macro_rules! subject {
    ($name:ident, $library:ident, $raw:ident => $as_raw:expr) => {
        mod $name {
            use super::*;
            use $library::{Mmap, MmapMut, MmapOptions};

            fn told(error: impl Into<std::io::Error>) -> Error {
                let error: std::io::Error = error.into();
                Error::from_io(&error).expect("of this crate")
            }

            pub(super) fn make(
                constructor: &str,
                option: Option<&str>,
                files: &Files,
            ) -> Result<Seen, Error> {
                let mut options = MmapOptions::new();
                if constructor.starts_with("map_anon") {
                    options.len(LEN);
                }
                match option {
                    None => {}
                    Some("offset") => {
                        options.offset(4096 + 7);
                    }
                    Some("len") => {
                        options.len(100);
                    }
                    // Too small: a constructor that looks at it refuses it.
                    Some("page_size") => {
                        options.page_size(rawmap_core::PageSize::new(1024).unwrap());
                    }
                    Some("populate") => {
                        options.populate();
                    }
                    Some("no_reserve_swap") => {
                        options.no_reserve_swap();
                    }
                    Some("stack") => {
                        options.stack();
                    }
                    // No kernel has pages of 8 KiB for it.
                    Some("huge") => {
                        options.huge(Some(13));
                    }
                    Some("scattered") => {
                        options.scattered();
                    }
                    Some("contained") => {
                        options.contained();
                    }
                    Some(other) => other_option(&mut options, other),
                }
                finish(constructor, &options, files)
            }

            fn finish(
                constructor: &str,
                options: &MmapOptions,
                files: &Files,
            ) -> Result<Seen, Error> {
                let raw_of = |$raw: $library::MmapRaw| seen($as_raw);
                let read = |map: Mmap| seen(map.as_raw());
                let write = |map: MmapMut| seen(map.as_raw());
                let file = &files.disk;
                // SAFETY: nothing else uses the files, and nothing changes their lengths.
                unsafe {
                    match constructor {
                        "map" => options.map(file).map(read).map_err(told),
                        "map_exec" => options.map_exec(file).map(read).map_err(told),
                        "map_mut" => options.map_mut(file).map(write).map_err(told),
                        "map_copy" => options.map_copy(file).map(write).map_err(told),
                        "map_copy_read_only" => {
                            options.map_copy_read_only(file).map(read).map_err(told)
                        }
                        "map_raw" => options.map_raw(file).map(raw_of).map_err(told),
                        "map_raw_read_only" => {
                            options.map_raw_read_only(file).map(raw_of).map_err(told)
                        }
                        "map_raw_sealed" => options
                            .map_raw_sealed(&files.sealable)
                            .map(raw_of)
                            .map_err(told),
                        "map_raw_sealed_read_only" => options
                            .map_raw_sealed_read_only(&files.sealed)
                            .map(raw_of)
                            .map_err(told),
                        "map_if_safe" => {
                            options.map_if_safe(&files.sealed).map(read).map_err(told)
                        }
                        "map_anon" => options.map_anon().map(write).map_err(told),
                        "map_anon_shared" => {
                            options.map_anon_shared().map(raw_of).map_err(told)
                        }
                        other => panic!("a constructor that the test does not know: {other}"),
                    }
                }
            }

            pub(super) fn check() {
                let files = Files::new();
                for ((option, constructor), says) in table() {
                    let plain = make(constructor, None, &files).unwrap();
                    let with = make(constructor, Some(option), &files);
                    let cell = format!("{option} with {constructor}: {says}");
                    match says {
                        "refused" => assert!(
                            matches!(with, Err(Error::Option { option: told }) if told == option),
                            "{cell}, but {with:?}"
                        ),
                        "no meaning" => assert_eq!(with, Ok(plain), "{cell}"),
                        "yes" => honoured(option, &plain, with, &cell),
                        other => panic!("{other}"),
                    }
                }
            }
        }
    };
}

subject!(core, rawmap_core, map => &map);
subject!(std_crate, rawmap, map => &map);

trait OtherOption {
    fn set(&mut self, option: &str);
}

impl OtherOption for rawmap_core::MmapOptions {
    fn set(&mut self, option: &str) {
        panic!("an option that the test does not know: {option}");
    }
}

impl OtherOption for rawmap::MmapOptions {
    fn set(&mut self, option: &str) {
        assert_eq!(option, "keep_file", "an option that the test does not know");
        self.keep_file();
    }
}

fn other_option(options: &mut impl OtherOption, option: &str) {
    options.set(option);
}

/// Checks that an option has its effect, where it can be seen.
fn honoured(option: &str, plain: &Seen, with: Result<Seen, Error>, cell: &str) {
    match option {
        "page_size" => assert_eq!(with, Err(Error::PageSize { value: 1024 }), "{cell}"),
        // EINVAL, or ENODEV in kernels without huge pages. An emulator drops the size, and takes pages of a pool.
        "huge" => assert!(
            with.as_ref().is_err_and(|error| error.errno().is_some())
                || rawmap_tests::emulator().is_some(),
            "{cell}, but {with:?}"
        ),
        _ => {
            let with = with.unwrap_or_else(|error| panic!("{cell}, but {error}"));
            match option {
                "offset" => assert!(with.bytes == plain.bytes[4096 + 7..], "{cell}"),
                "len" => assert!(with.bytes == plain.bytes[..100], "{cell}"),
                "contained" => assert!(with.contained && !plain.contained, "{cell}"),
                "scattered" => {
                    let has = with
                        .flags
                        .as_ref()
                        .is_none_or(|flags| flags.contains(" rr"));
                    assert!(has, "{cell}: {:?}", with.flags);
                }
                _ => assert_eq!(with.bytes, plain.bytes, "{cell}"),
            }
        }
    }
}

#[test]
fn the_table_names_every_option_and_constructor() {
    let table = table();
    let options: std::collections::BTreeSet<_> = table.keys().map(|key| key.0).collect();
    for option in &options {
        for constructor in CONSTRUCTORS {
            let key = (*option, constructor);
            assert!(table.contains_key(&key), "{option} with {constructor}");
        }
    }
    assert_eq!(table.len(), options.len() * CONSTRUCTORS.len());
    // Every setter of the type has a row.
    for line in CORE.lines().filter(|line| line.contains("&mut self")) {
        let setter = line
            .split("fn ")
            .nth(1)
            .and_then(|rest| rest.split('(').next());
        let setter = setter.unwrap_or_default();
        assert!(options.contains(setter), "no row for {setter}");
    }
}

#[test]
fn core_does_what_the_table_says() {
    core::check();
}

#[test]
fn std_does_what_the_table_says() {
    std_crate::check();
}

/// An option of the std crate alone. Its own doc says for which constructors it is.
#[test]
fn keep_file_does_what_its_doc_says() {
    let (before, _) = STD.split_once("pub fn keep_file").unwrap();
    let doc = before.rsplit("\n\n").next().unwrap();
    let sentence = doc.rsplit("For [").next().unwrap();
    let honours: Vec<_> = names(sentence)
        .into_iter()
        .filter(|name| CONSTRUCTORS.contains(name))
        .collect();
    assert!(
        sentence.contains("refuse") && honours.len() == 4,
        "{sentence}"
    );
    let files = Files::new();
    for constructor in CONSTRUCTORS {
        let with = std_crate::make(constructor, Some("keep_file"), &files);
        if honours.contains(&constructor) {
            assert_eq!(with, std_crate::make(constructor, None, &files));
        } else {
            let option = "keep_file";
            assert_eq!(with, Err(Error::Option { option }), "{constructor}");
        }
    }
}
