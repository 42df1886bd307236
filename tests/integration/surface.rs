//! Every public item of memmap2 0.9.12 on Linux, with its signature, compiled against memmap2 and
//! against rawmap: where this compiles, `use rawmap as memmap2;` does too.

macro_rules! all {
    ($map:ident) => {
        let _: fn(&$map, Advice) -> io::Result<()> = $map::advise;
        let _: fn(&$map, Advice, usize, usize) -> io::Result<()> = $map::advise_range;
        let _: unsafe fn(&$map, UncheckedAdvice) -> io::Result<()> = $map::unchecked_advise;
        let _: unsafe fn(&$map, UncheckedAdvice, usize, usize) -> io::Result<()> =
            $map::unchecked_advise_range;
        let _: fn(&$map) -> io::Result<()> = $map::lock;
        let _: fn(&$map) -> io::Result<()> = $map::unlock;
        let _: unsafe fn(&mut $map, usize, RemapOptions) -> io::Result<()> = $map::remap;
    };
}

macro_rules! flush {
    ($map:ident) => {
        let _: [fn(&$map) -> io::Result<()>; 2] = [$map::flush, $map::flush_async];
        let _: [fn(&$map, usize, usize) -> io::Result<()>; 2] =
            [$map::flush_range, $map::flush_async_range];
    };
}

/// A program that uses everything. Signatures are pinned by coercion to function pointers.
macro_rules! surface {
    ($name:ident, $library:ident) => {
        mod $name {
            use std::fmt::Debug;
            use std::fs::File;
            use std::io;
            use std::ops::{Deref, DerefMut};
            use std::os::fd::{AsRawFd, RawFd};

            use memmap2::{
                Advice, MapIfSafeError, Mmap, MmapAsRawDesc, MmapMut, MmapOptions, MmapRaw,
                MmapRawDescriptor, RemapOptions, UncheckedAdvice,
            };
            use $library as memmap2;

            type Set = for<'a> fn(&'a mut MmapOptions) -> &'a mut MmapOptions;

            #[test]
            fn options() {
                let _: fn() -> MmapOptions = MmapOptions::new;
                let _: for<'a> fn(&'a mut MmapOptions, u64) -> &'a mut MmapOptions =
                    MmapOptions::offset;
                let _: for<'a> fn(&'a mut MmapOptions, usize) -> &'a mut MmapOptions =
                    MmapOptions::len;
                let _: for<'a> fn(&'a mut MmapOptions, Option<u8>) -> &'a mut MmapOptions =
                    MmapOptions::huge;
                let _: [Set; 4] = [
                    MmapOptions::stack,
                    MmapOptions::populate,
                    MmapOptions::no_reserve_swap,
                    MmapOptions::no_probe_handle,
                ];
                let _: unsafe fn(&MmapOptions, &'static File) -> io::Result<Mmap> =
                    MmapOptions::map;
                let _: unsafe fn(&MmapOptions, &'static File) -> io::Result<Mmap> =
                    MmapOptions::map_exec;
                let _: unsafe fn(&MmapOptions, &'static File) -> io::Result<MmapMut> =
                    MmapOptions::map_mut;
                let _: unsafe fn(&MmapOptions, RawFd) -> io::Result<MmapMut> =
                    MmapOptions::map_copy;
                let _: unsafe fn(&MmapOptions, &'static RawFd) -> io::Result<Mmap> =
                    MmapOptions::map_copy_read_only;
                let _: fn(&MmapOptions, &'static File) -> Result<Mmap, MapIfSafeError> =
                    MmapOptions::map_if_safe;
                let _: fn(&MmapOptions) -> io::Result<MmapMut> = MmapOptions::map_anon;
                let _: fn(&MmapOptions, &'static File) -> io::Result<MmapRaw> =
                    MmapOptions::map_raw;
                let _: fn(&MmapOptions, &'static File) -> io::Result<MmapRaw> =
                    MmapOptions::map_raw_read_only;
                fn traits<T: Clone + Debug + Default + Send + Sync + Unpin>() {}
                traits::<MmapOptions>();
            }

            #[test]
            fn maps() {
                let _: unsafe fn(&'static File) -> io::Result<Mmap> = Mmap::map;
                let _: fn(&'static File) -> Result<Mmap, MapIfSafeError> = Mmap::map_if_safe;
                let _: fn(Mmap) -> io::Result<MmapMut> = Mmap::make_mut;
                let _: unsafe fn(&'static File) -> io::Result<MmapMut> = MmapMut::map_mut;
                let _: fn(usize) -> io::Result<MmapMut> = MmapMut::map_anon;
                let _: fn(MmapMut) -> io::Result<Mmap> = MmapMut::make_read_only;
                let _: fn(MmapMut) -> io::Result<Mmap> = MmapMut::make_exec;
                let _: fn(&'static File) -> io::Result<MmapRaw> = MmapRaw::map_raw;
                let _: fn(&MmapRaw) -> *const u8 = MmapRaw::as_ptr;
                let _: fn(&MmapRaw) -> *mut u8 = MmapRaw::as_mut_ptr;
                let _: fn(&MmapRaw) -> usize = MmapRaw::len;

                all!(Mmap);
                all!(MmapMut);
                all!(MmapRaw);
                flush!(MmapMut);
                flush!(MmapRaw);

                fn plain<T: Debug + Send + Sync + Unpin>() {}
                plain::<Mmap>();
                plain::<MmapMut>();
                plain::<MmapRaw>();
                fn slice<T: Deref<Target = [u8]> + AsRef<[u8]> + Into<MmapRaw>>() {}
                slice::<Mmap>();
                slice::<MmapMut>();
                fn slice_mut<T: DerefMut + AsMut<[u8]>>() {}
                slice_mut::<MmapMut>();
                fn stable<T: stable_deref_trait::StableDeref>() {}
                stable::<Mmap>();
                stable::<MmapMut>();
            }

            #[test]
            fn descriptors() {
                fn takes<T: MmapAsRawDesc>(file: &T) -> MmapRawDescriptor {
                    file.as_raw_desc()
                }
                struct Wrapper(File);
                impl MmapAsRawDesc for Wrapper {
                    fn as_raw_desc(&self) -> MmapRawDescriptor {
                        (&self.0).as_raw_desc()
                    }
                }
                let file = crate::file_of(10);
                takes(&&file);
                takes(&file.as_raw_fd());
                let wrapper = Wrapper(file);
                takes(&wrapper);
                assert_eq!(MmapRaw::map_raw(wrapper).unwrap().len(), 10);
            }

            #[test]
            fn the_rest() {
                let _: [fn(&MapIfSafeError) -> bool; 3] = [
                    MapIfSafeError::not_supported,
                    MapIfSafeError::not_safe,
                    MapIfSafeError::map_failed,
                ];
                fn error<T: std::error::Error + Into<io::Error> + Send + Sync + 'static>() {}
                error::<MapIfSafeError>();
                let _: fn() -> RemapOptions = RemapOptions::new;
                let _: fn(RemapOptions, bool) -> RemapOptions = RemapOptions::may_move;
                fn copy<T: Copy + Debug + Default>() {}
                copy::<RemapOptions>();
                let _: fn(Advice) -> bool = Advice::is_supported;
                let _: fn(UncheckedAdvice) -> bool = UncheckedAdvice::is_supported;
                fn value<T: Copy + Debug + Eq + std::hash::Hash>() {}
                value::<Advice>();
                value::<UncheckedAdvice>();
                // Without a wildcard: no variant more, none less.
                let number = |advice: Advice| match advice {
                    Advice::Normal
                    | Advice::Random
                    | Advice::Sequential
                    | Advice::WillNeed
                    | Advice::DontFork
                    | Advice::DoFork
                    | Advice::Mergeable
                    | Advice::Unmergeable
                    | Advice::HugePage
                    | Advice::NoHugePage
                    | Advice::DontDump
                    | Advice::DoDump
                    | Advice::HwPoison
                    | Advice::PopulateRead
                    | Advice::PopulateWrite => advice as i32,
                };
                assert_eq!(number(Advice::PopulateWrite), 23);
                let number = |advice: UncheckedAdvice| match advice {
                    UncheckedAdvice::DontNeed | UncheckedAdvice::Free | UncheckedAdvice::Remove => {
                        advice as i32
                    }
                };
                assert_eq!(number(UncheckedAdvice::Remove), 9);
            }

            pub(super) fn texts() -> Vec<String> {
                let map = MmapMut::map_anon(100).unwrap();
                let address = format!("{:?}", map.as_ptr());
                let mut texts = vec![format!("{map:?}")];
                let map = map.make_read_only().unwrap();
                texts.push(format!("{map:?}"));
                texts.push(format!("{:?}", MmapRaw::from(map)));
                let file = crate::file_of(10);
                let refused = Mmap::map_if_safe(&file).unwrap_err();
                texts.push(format!("{refused} {refused:?}"));
                let refused = MmapOptions::new()
                    .offset(11)
                    .map_if_safe(&file)
                    .unwrap_err();
                texts.push(refused.to_string());
                // What unwrap shows, where memmap2 has a text of its own.
                let refused = MmapOptions::new().offset(11).map_raw(&file).unwrap_err();
                texts.push(format!("{refused:?}"));
                let refused = MmapOptions::new().len(usize::MAX).map_anon();
                texts.push(refused.map_or_else(|e| e.to_string(), |_| "mapped".to_owned()));
                texts.push(format!("{:?}", RemapOptions::new().may_move(true)));
                texts.push(format!(
                    "{:?} {:?}",
                    Advice::WillNeed,
                    UncheckedAdvice::Free
                ));
                // A program reads such a file in another way.
                let zero = File::open("/dev/zero").unwrap();
                let refused = Mmap::map_if_safe(&zero).unwrap_err();
                texts.push(format!("{} {}", refused.not_safe(), refused.map_failed()));
                for text in &mut texts {
                    *text = text.replace(&address, "PTR");
                }
                texts
            }

            pub(super) fn kinds() -> Vec<io::ErrorKind> {
                let file = crate::file_of(10);
                let map = MmapRaw::map_raw(&file).unwrap();
                let kind = |result: io::Result<()>| result.unwrap_err().kind();
                vec![
                    kind(MmapOptions::new().offset(11).map_raw(&file).map(drop)),
                    kind(MmapOptions::new().len(usize::MAX).map_raw(&file).map(drop)),
                    kind(MmapOptions::new().len(usize::MAX).map_anon().map(drop)),
                    kind(map.flush_range(11, 0)),
                    kind(map.flush_async_range(0, 11)),
                    kind(map.advise_range(Advice::Normal, 0, 1 << 20)),
                    kind(MmapRaw::map_raw(&File::open("/proc/self/exe").unwrap()).map(drop)),
                ]
            }

            pub(super) fn options_text() -> String {
                let mut options = MmapOptions::new();
                options.len(5).offset(6).huge(None).no_probe_handle();
                format!("{options:?}")
            }

            pub(super) const SIZE: usize = size_of::<MmapRaw>();
        }
    };
}

surface!(theirs, memmap2);
surface!(ours, rawmap);

#[test]
fn debug_and_error_texts_are_the_same() {
    let (theirs, ours) = (theirs::texts(), ours::texts());
    assert_eq!(theirs.len(), ours.len());
    for (number, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        // Where memmap2's text loses a number, ours has it.
        let own = match number {
            // As Debug our own value, which `Error::from_io` gives.
            3 => theirs.replace(
                "\"fd is not safe to map: it is not a memfd and it has no fs-verity\"",
                "MayChange(NoVerity)",
            ),
            4 => "offset 11 lies past the end of the file, which has 10 bytes".to_owned(),
            5 => "Custom { kind: InvalidData, error: PastEnd { offset: 11, file_len: 10 } }"
                .to_owned(),
            6 => format!(
                "length of {} bytes is too long for this address space",
                usize::MAX
            ),
            _ => theirs.clone(),
        };
        assert_eq!(*ours, own, "{number}: memmap2 says {theirs}");
    }
}

/// The kinds are memmap2's all the same.
#[test]
fn kinds_of_errors_are_the_same() {
    assert_eq!(theirs::kinds(), ours::kinds());
}

/// rawmap has more fields, and memmap2's in the same order.
#[test]
fn debug_of_options_has_all_of_memmap2s_fields() {
    let mut ours = ours::options_text();
    for own in [
        " keep_file: false,",
        " scattered: false,",
        " page_size: None,",
        " contained: false,",
    ] {
        assert!(ours.contains(own));
        ours = ours.replace(own, "");
    }
    assert_eq!(theirs::options_text(), ours);
}

#[test]
fn a_map_is_small() {
    let word = size_of::<usize>();
    assert_eq!(theirs::SIZE, 2 * word);
    // Beyond these: the page size, which memmap2 has in a static, and loses huge pages by that; where in the file the
    // map is; its health; what may be accessed; and the place in the table of contained maps.
    assert!(size_of::<rawmap_core::MmapRaw>() <= 40);
    // And the file, if it is kept.
    const { assert!(ours::SIZE <= 48) };
}
