//! walk::program, seed none. In tests/examples/walk.rs it runs by `cargo run --package rawmap-tests --example walk`.

#![cfg_attr(rustfmt, rustfmt_skip)]
#![allow(clippy::all, clippy::pedantic, unused, reason = "printed by a program")]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use embedded_storage::nor_flash::NorFlash as _;
use rawmap_core::adapter::{Cursor, Flash, Overwrite};
use rawmap_core::memfd::{MemfdOptions, Seals, add_seals};
use rawmap_core::{Advice, MmapMut, MmapOptions, MmapRaw, Protection, RemapOptions, SharedTracked, Tracked, UncheckedAdvice};
use rawmap_tests::disk::{FailingDisk, On, fill_with};

#[path = "../walk/event.rs"]
mod event;
#[path = "../walk/limit.rs"]
mod limit;
#[path = "../walk/refuse.rs"]
mod refuse;
#[path = "../walk/step.rs"]
mod step;
mod board {
    pub const DIED: i32 = 4;
}
pub const PATIENCE: u32 = 60;
mod world {
    pub fn page() -> usize {
        rawmap_core::page_size().unwrap().get()
    }
}

fn main() {
    event::install_handlers();
    let mut limits = limit::Limits::default();
    let disk = FailingDisk::new(On::Ext4).unwrap();
    let file = &disk.file;
    let filler = disk.unnamed();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let open = || File::options().read(true).write(true).open(&path).unwrap();
    let mut file0 = open();
    let mut file1 = open();
    let mut file2 = open();
    let peer = open();
    let mut map1 = MmapOptions::new().offset(0).len(8192).map_raw(&file1).unwrap(); // Map { slot: 1, kind: Raw, file: 1, from: At(0, 0), pages: 2, contained: false, scattered: false }
    unsafe { map1.as_mut_ptr().add(8191).write_bytes(7, 1) }; // Write(1, At(1, 65535), 5000, 7)
    println!("{:?}", unsafe { map1.as_ptr().add(8191).read() }); // Read(1, At(1, 65535))
    println!("{:?}", map1.flush()); // Flush(1)
    println!("{:?}", map1.flush_range(8191, 1)); // FlushRange(1, At(1, 65535), 1)
    println!("{:?}", map1.flush_async()); // FlushAsync(1)
    println!("{:?}", map1.flush_all(&file2)); // FlushAll(1)
    println!("{:?}", map1.start_writeback(&file1, 0, 8192)); // StartWriteback(1)
    println!("{:?}", map1.retry_flush()); // Retry(1)
    println!("{:?}", map1.advise_range(Advice::Random, 8191, 1)); // Advise(1, At(1, 65535), 5000, Random)
    println!("{:?}", unsafe { map1.unchecked_advise_range(UncheckedAdvice::DontNeed, 8191, 1) }); // Advise(1, At(1, 65535), 5000, DontNeed)
    println!("{:?}", map1.lock_range(8191, 1)); // Lock(1, At(1, 65535), 5000)
    println!("{:?}", map1.unlock_range(8191, 1)); // Unlock(1, At(1, 65535), 5000)
    println!("{:?}", map1.prefault_read(8191, 1)); // PrefaultRead(1, At(1, 65535), 5000)
    println!("{:?}", map1.prefault_write(8191, 1)); // PrefaultWrite(1, At(1, 65535), 5000)
    println!("{:?}", map1.resident_pages(0, 8192)); // Resident(1)
    println!("{:?}", map1.shared().swap(0, 117901063_u32)); // Word(1, At(0, 0), 7)
    println!("{:?}", std::thread::scope(|scope| { scope.spawn(|| map1.retry_flush()); map1.flush().is_ok() })); // Beside(1)
    println!("{:?}", map1.acknowledge_lost()); // Acknowledge(1)
    println!("{:?}", unsafe { map1.grow(&file1, 12288) }); // Grow(1, 3)
    println!("{:?}", unsafe { map1.recover(&file1) }); // Recover(1)
    println!("{:?}", unsafe { map1.remap(8192, RemapOptions::new().may_move(true)) }); // Remap(1, 2)
    println!("{:?}", map1.protect_range(Protection::ReadOnly, 8191, 1)); // Protect(1, At(1, 65535), 5000, 1)
    println!("{:?}", map1.protect(Protection::ReadOnly)); // ProtectAll(1, 1)
    println!("{:?}", map1.protect(Protection::ReadWrite)); // ProtectAll(1, 2)
    drop(map1); let mut map1 = rawmap::MmapOptions::new().offset(0).len(8192).keep_file().map_raw(&file1).unwrap(); // Map { slot: 1, kind: Kept, file: 1, from: At(0, 0), pages: 2, contained: false, scattered: false }
    unsafe { map1.as_mut_ptr().add(8191).write_bytes(7, 1) }; // Write(1, At(1, 65535), 5000, 7)
    println!("{:?}", unsafe { map1.as_ptr().add(8191).read() }); // Read(1, At(1, 65535))
    println!("{:?}", map1.flush()); // Flush(1)
    println!("{:?}", map1.flush_range(8191, 1)); // FlushRange(1, At(1, 65535), 1)
    println!("{:?}", map1.flush_async()); // FlushAsync(1)
    println!("{:?}", map1.flush_all(&file2)); // FlushAll(1)
    println!("{:?}", map1.start_writeback(&file1, 0, 8192)); // StartWriteback(1)
    println!("{:?}", map1.retry_flush()); // Retry(1)
    println!("{:?}", map1.advise_range(Advice::Random, 8191, 1)); // Advise(1, At(1, 65535), 5000, Random)
    println!("{:?}", unsafe { map1.unchecked_advise_range(UncheckedAdvice::DontNeed, 8191, 1) }); // Advise(1, At(1, 65535), 5000, DontNeed)
    println!("{:?}", map1.lock_range(8191, 1)); // Lock(1, At(1, 65535), 5000)
    println!("{:?}", map1.unlock_range(8191, 1)); // Unlock(1, At(1, 65535), 5000)
    println!("{:?}", map1.prefault_read(8191, 1)); // PrefaultRead(1, At(1, 65535), 5000)
    println!("{:?}", map1.prefault_write(8191, 1)); // PrefaultWrite(1, At(1, 65535), 5000)
    println!("{:?}", map1.resident_pages(0, 8192)); // Resident(1)
    println!("{:?}", map1.shared().swap(0, 117901063_u32)); // Word(1, At(0, 0), 7)
    println!("{:?}", std::thread::scope(|scope| { scope.spawn(|| map1.retry_flush()); map1.flush().is_ok() })); // Beside(1)
    println!("{:?}", map1.acknowledge_lost()); // Acknowledge(1)
    println!("{:?}", unsafe { map1.grow(&file1, 12288) }); // Grow(1, 3)
    println!("{:?}", unsafe { map1.recover(&file1) }); // Recover(1)
    println!("{:?}", unsafe { map1.remap(8192, RemapOptions::new().may_move(true)) }); // Remap(1, 2)
    println!("{:?}", map1.protect_range(Protection::ReadOnly, 8191, 1)); // Protect(1, At(1, 65535), 5000, 1)
    println!("{:?}", map1.protect(Protection::ReadOnly)); // ProtectAll(1, 1)
    println!("{:?}", map1.protect(Protection::ReadWrite)); // ProtectAll(1, 2)
    drop(map1); let mut map1 = unsafe { MmapOptions::new().offset(0).len(8192).map(&file1) }.unwrap(); // Map { slot: 1, kind: Only, file: 1, from: At(0, 0), pages: 2, contained: false, scattered: false }
    println!("{:?}", unsafe { map1.as_raw().as_ptr().add(8191).read() }); // Read(1, At(1, 65535))
    println!("{:?}", map1.as_raw().flush()); // Flush(1)
    println!("{:?}", map1.as_raw().flush_range(8191, 1)); // FlushRange(1, At(1, 65535), 1)
    println!("{:?}", map1.as_raw().flush_async()); // FlushAsync(1)
    println!("{:?}", map1.as_raw().flush_all(&file2)); // FlushAll(1)
    println!("{:?}", map1.as_raw().start_writeback(&file1, 0, 8192)); // StartWriteback(1)
    println!("{:?}", map1.as_raw().retry_flush()); // Retry(1)
    println!("{:?}", map1.as_raw().advise_range(Advice::Random, 8191, 1)); // Advise(1, At(1, 65535), 5000, Random)
    println!("{:?}", unsafe { map1.as_raw().unchecked_advise_range(UncheckedAdvice::DontNeed, 8191, 1) }); // Advise(1, At(1, 65535), 5000, DontNeed)
    println!("{:?}", map1.as_raw().lock_range(8191, 1)); // Lock(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_raw().unlock_range(8191, 1)); // Unlock(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_raw().prefault_read(8191, 1)); // PrefaultRead(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_raw().prefault_write(8191, 1)); // PrefaultWrite(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_raw().resident_pages(0, 8192)); // Resident(1)
    println!("{:?}", std::thread::scope(|scope| { scope.spawn(|| map1.as_raw().retry_flush()); map1.as_raw().flush().is_ok() })); // Beside(1)
    println!("{:?}", map1.as_raw().acknowledge_lost()); // Acknowledge(1)
    println!("{:?}", unsafe { map1.recover(&file1) }); // Recover(1)
    let mut map1 = map1.make_mut().unwrap(); // ProtectAll(1, 2)
    drop(map1); let mut map1 = unsafe { MmapOptions::new().offset(0).len(8192).map_copy(&file1) }.unwrap(); // Map { slot: 1, kind: Copy, file: 1, from: At(0, 0), pages: 2, contained: false, scattered: false }
    map1[8191..][..1].fill(7); // Write(1, At(1, 65535), 5000, 7)
    println!("{:?}", unsafe { map1.as_raw().as_ptr().add(8191).read() }); // Read(1, At(1, 65535))
    println!("{:?}", map1.as_raw().flush()); // Flush(1)
    println!("{:?}", map1.as_raw().flush_range(8191, 1)); // FlushRange(1, At(1, 65535), 1)
    println!("{:?}", map1.as_raw().flush_async()); // FlushAsync(1)
    println!("{:?}", map1.as_raw().flush_all(&file2)); // FlushAll(1)
    println!("{:?}", map1.as_raw().start_writeback(&file1, 0, 8192)); // StartWriteback(1)
    println!("{:?}", map1.as_raw().retry_flush()); // Retry(1)
    println!("{:?}", map1.as_raw().advise_range(Advice::Random, 8191, 1)); // Advise(1, At(1, 65535), 5000, Random)
    println!("{:?}", unsafe { map1.as_raw().unchecked_advise_range(UncheckedAdvice::DontNeed, 8191, 1) }); // Advise(1, At(1, 65535), 5000, DontNeed)
    println!("{:?}", map1.as_raw().lock_range(8191, 1)); // Lock(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_raw().unlock_range(8191, 1)); // Unlock(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_raw().prefault_read(8191, 1)); // PrefaultRead(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_raw().prefault_write(8191, 1)); // PrefaultWrite(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_raw().resident_pages(0, 8192)); // Resident(1)
    println!("{:?}", std::thread::scope(|scope| { scope.spawn(|| map1.as_raw().retry_flush()); map1.as_raw().flush().is_ok() })); // Beside(1)
    println!("{:?}", map1.as_raw().acknowledge_lost()); // Acknowledge(1)
    println!("{:?}", unsafe { map1.grow(&file1, 12288) }); // Grow(1, 3)
    println!("{:?}", unsafe { map1.recover(&file1) }); // Recover(1)
    let mut map1 = map1.make_read_only().unwrap(); // ProtectAll(1, 1)
    let mut map1 = map1.make_mut().unwrap(); // ProtectAll(1, 2)
    drop(map1); let mut map1 = MmapOptions::new().offset(0).len(8192).map_raw_sealed(&file1).unwrap(); // Map { slot: 1, kind: Sealed, file: 1, from: At(0, 0), pages: 2, contained: false, scattered: false }
    unsafe { map1.as_mut_ptr().add(8191).write_bytes(7, 1) }; // Write(1, At(1, 65535), 5000, 7)
    println!("{:?}", unsafe { map1.as_ptr().add(8191).read() }); // Read(1, At(1, 65535))
    println!("{:?}", map1.flush()); // Flush(1)
    println!("{:?}", map1.flush_range(8191, 1)); // FlushRange(1, At(1, 65535), 1)
    println!("{:?}", map1.flush_async()); // FlushAsync(1)
    println!("{:?}", map1.flush_all(&file2)); // FlushAll(1)
    println!("{:?}", map1.start_writeback(&file1, 0, 8192)); // StartWriteback(1)
    println!("{:?}", map1.retry_flush()); // Retry(1)
    println!("{:?}", map1.advise_range(Advice::Random, 8191, 1)); // Advise(1, At(1, 65535), 5000, Random)
    println!("{:?}", unsafe { map1.unchecked_advise_range(UncheckedAdvice::DontNeed, 8191, 1) }); // Advise(1, At(1, 65535), 5000, DontNeed)
    println!("{:?}", map1.lock_range(8191, 1)); // Lock(1, At(1, 65535), 5000)
    println!("{:?}", map1.unlock_range(8191, 1)); // Unlock(1, At(1, 65535), 5000)
    println!("{:?}", map1.prefault_read(8191, 1)); // PrefaultRead(1, At(1, 65535), 5000)
    println!("{:?}", map1.prefault_write(8191, 1)); // PrefaultWrite(1, At(1, 65535), 5000)
    println!("{:?}", map1.resident_pages(0, 8192)); // Resident(1)
    println!("{:?}", map1.shared().swap(0, 117901063_u32)); // Word(1, At(0, 0), 7)
    println!("{:?}", std::thread::scope(|scope| { scope.spawn(|| map1.retry_flush()); map1.flush().is_ok() })); // Beside(1)
    println!("{:?}", map1.acknowledge_lost()); // Acknowledge(1)
    println!("{:?}", unsafe { map1.grow(&file1, 12288) }); // Grow(1, 3)
    println!("{:?}", unsafe { map1.recover(&file1) }); // Recover(1)
    println!("{:?}", unsafe { map1.remap(8192, RemapOptions::new().may_move(true)) }); // Remap(1, 2)
    println!("{:?}", map1.protect_range(Protection::ReadOnly, 8191, 1)); // Protect(1, At(1, 65535), 5000, 1)
    println!("{:?}", map1.protect(Protection::ReadOnly)); // ProtectAll(1, 1)
    println!("{:?}", map1.protect(Protection::ReadWrite)); // ProtectAll(1, 2)
    drop(map1); let mut map1 = unsafe { MmapOptions::new().offset(0).len(8192).map_mut(&file1) }.unwrap(); // Map { slot: 1, kind: Mut, file: 1, from: At(0, 0), pages: 2, contained: false, scattered: false }
    map1[8191..][..1].fill(7); // Write(1, At(1, 65535), 5000, 7)
    println!("{:?}", unsafe { map1.as_raw().as_ptr().add(8191).read() }); // Read(1, At(1, 65535))
    println!("{:?}", map1.as_raw().flush()); // Flush(1)
    println!("{:?}", map1.as_raw().flush_range(8191, 1)); // FlushRange(1, At(1, 65535), 1)
    println!("{:?}", map1.as_raw().flush_async()); // FlushAsync(1)
    println!("{:?}", map1.as_raw().flush_all(&file2)); // FlushAll(1)
    println!("{:?}", map1.as_raw().start_writeback(&file1, 0, 8192)); // StartWriteback(1)
    println!("{:?}", map1.as_raw().retry_flush()); // Retry(1)
    println!("{:?}", map1.as_raw().advise_range(Advice::Random, 8191, 1)); // Advise(1, At(1, 65535), 5000, Random)
    println!("{:?}", unsafe { map1.as_raw().unchecked_advise_range(UncheckedAdvice::DontNeed, 8191, 1) }); // Advise(1, At(1, 65535), 5000, DontNeed)
    println!("{:?}", map1.as_raw().lock_range(8191, 1)); // Lock(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_raw().unlock_range(8191, 1)); // Unlock(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_raw().prefault_read(8191, 1)); // PrefaultRead(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_raw().prefault_write(8191, 1)); // PrefaultWrite(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_raw().resident_pages(0, 8192)); // Resident(1)
    println!("{:?}", std::thread::scope(|scope| { scope.spawn(|| map1.as_raw().retry_flush()); map1.as_raw().flush().is_ok() })); // Beside(1)
    println!("{:?}", map1.as_raw().acknowledge_lost()); // Acknowledge(1)
    println!("{:?}", unsafe { map1.grow(&file1, 12288) }); // Grow(1, 3)
    println!("{:?}", unsafe { map1.recover(&file1) }); // Recover(1)
    let mut map1 = map1.make_read_only().unwrap(); // ProtectAll(1, 1)
    let mut map1 = map1.make_mut().unwrap(); // ProtectAll(1, 2)
    drop(map1); rawmap::fault::install().unwrap(); let mut map1 = Tracked::<3>::new(unsafe { MmapOptions::new().offset(0).len(8192).contained().scattered().map_mut(&file1) }.unwrap()); // Map { slot: 1, kind: Tracked, file: 1, from: At(0, 0), pages: 2, contained: true, scattered: true }
    println!("{:?}", map1.write(8191, &[7; 1])); // Write(1, At(1, 65535), 5000, 7)
    println!("{:?}", unsafe { map1.as_map().as_raw().as_ptr().add(8191).read() }); // Read(1, At(1, 65535))
    println!("{:?}", map1.as_map().as_raw().flush()); // Flush(1)
    println!("{:?}", map1.as_map().as_raw().flush_range(8191, 1)); // FlushRange(1, At(1, 65535), 1)
    println!("{:?}", map1.as_map().as_raw().flush_async()); // FlushAsync(1)
    println!("{:?}", map1.as_map().as_raw().flush_all(&file2)); // FlushAll(1)
    println!("{:?}", map1.start_writeback(&file1)); // StartWriteback(1)
    println!("{:?}", map1.commit_with(0)); // Commit(1, true)
    println!("{:?}", map1.retry()); // Retry(1)
    println!("{:?}", map1.as_map().as_raw().advise_range(Advice::Random, 8191, 1)); // Advise(1, At(1, 65535), 5000, Random)
    println!("{:?}", unsafe { map1.as_map().as_raw().unchecked_advise_range(UncheckedAdvice::DontNeed, 8191, 1) }); // Advise(1, At(1, 65535), 5000, DontNeed)
    println!("{:?}", map1.as_map().as_raw().lock_range(8191, 1)); // Lock(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_map().as_raw().unlock_range(8191, 1)); // Unlock(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_map().as_raw().prefault_read(8191, 1)); // PrefaultRead(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_map().as_raw().prefault_write(8191, 1)); // PrefaultWrite(1, At(1, 65535), 5000)
    println!("{:?}", map1.as_map().as_raw().resident_pages(0, 8192)); // Resident(1)
    println!("{:?}", std::thread::scope(|scope| { scope.spawn(|| map1.as_map().as_raw().retry_flush()); map1.as_map().as_raw().flush().is_ok() })); // Beside(1)
    println!("{:?}", map1.as_map().as_raw().acknowledge_lost()); // Acknowledge(1)
    println!("{:?}", unsafe { map1.grow(&file1, 12288) }); // Grow(1, 3)
    println!("{:?}", unsafe { map1.recover(&file1) }); // Recover(1)
    drop(map1); let mut map1 = SharedTracked::<3>::new(unsafe { MmapOptions::new().offset(0).len(8192).map_mut(&file1) }.unwrap()); // Map { slot: 1, kind: Shared, file: 1, from: At(0, 0), pages: 2, contained: false, scattered: false }
    println!("{:?}", map1.write(8191, &[7; 1])); // Write(1, At(1, 65535), 5000, 7)
    println!("{:?}", map1.start_writeback(&file1)); // StartWriteback(1)
    println!("{:?}", map1.commit_with(0)); // Commit(1, true)
    println!("{:?}", map1.retry()); // Retry(1)
    println!("{:?}", std::thread::scope(|scope| { scope.spawn(|| map1.write(0, &[7; 8]).unwrap()); map1.commit() })); // Together(1, At(0, 0), 7)
    println!("{:?}", map1.acknowledge_lost()); // Acknowledge(1)
    println!("{:?}", unsafe { map1.grow(&file1, 12288) }); // Grow(1, 3)
    println!("{:?}", unsafe { map1.recover(&file1) }); // Recover(1)
    drop(map1); let mut map1 = Flash::<_, Overwrite, 1, 1, 256>::new(unsafe { MmapOptions::new().offset(0).len(8192).map_mut(&file1) }.unwrap()).unwrap(); // Map { slot: 1, kind: Flash, file: 1, from: At(0, 0), pages: 2, contained: false, scattered: false }
    println!("{:?}", map1.write(8191, &[7; 1])); // Write(1, At(1, 65535), 5000, 7)
    println!("{:?}", unsafe { map1.get_ref().as_raw().as_ptr().add(8191).read() }); // Read(1, At(1, 65535))
    println!("{:?}", map1.get_ref().as_raw().flush()); // Flush(1)
    println!("{:?}", map1.get_ref().as_raw().flush_range(8191, 1)); // FlushRange(1, At(1, 65535), 1)
    println!("{:?}", map1.get_ref().as_raw().flush_async()); // FlushAsync(1)
    println!("{:?}", map1.get_ref().as_raw().flush_all(&file2)); // FlushAll(1)
    println!("{:?}", map1.get_ref().as_raw().start_writeback(&file1, 0, 8192)); // StartWriteback(1)
    println!("{:?}", map1.commit()); // Commit(1, true)
    println!("{:?}", map1.get_ref().as_raw().retry_flush()); // Retry(1)
    println!("{:?}", map1.get_ref().as_raw().advise_range(Advice::Random, 8191, 1)); // Advise(1, At(1, 65535), 5000, Random)
    println!("{:?}", unsafe { map1.get_ref().as_raw().unchecked_advise_range(UncheckedAdvice::DontNeed, 8191, 1) }); // Advise(1, At(1, 65535), 5000, DontNeed)
    println!("{:?}", map1.get_ref().as_raw().lock_range(8191, 1)); // Lock(1, At(1, 65535), 5000)
    println!("{:?}", map1.get_ref().as_raw().unlock_range(8191, 1)); // Unlock(1, At(1, 65535), 5000)
    println!("{:?}", map1.get_ref().as_raw().prefault_read(8191, 1)); // PrefaultRead(1, At(1, 65535), 5000)
    println!("{:?}", map1.get_ref().as_raw().prefault_write(8191, 1)); // PrefaultWrite(1, At(1, 65535), 5000)
    println!("{:?}", map1.get_ref().as_raw().resident_pages(0, 8192)); // Resident(1)
    println!("{:?}", map1.erase(7936, 8192)); // Erase(1, At(1, 65535))
    println!("{:?}", std::thread::scope(|scope| { scope.spawn(|| map1.get_ref().as_raw().retry_flush()); map1.get_ref().as_raw().flush().is_ok() })); // Beside(1)
    println!("{:?}", map1.get_ref().as_raw().acknowledge_lost()); // Acknowledge(1)
    println!("{:?}", unsafe { map1.get_mut().recover(&file1) }); // Recover(1)
    drop(map1); let mut map1 = Flash::<_, Overwrite, 1, 1, 256>::buffered(unsafe { MmapOptions::new().offset(0).len(8192).map_mut(&file1) }.unwrap()).unwrap(); // Map { slot: 1, kind: Buffered, file: 1, from: At(0, 0), pages: 2, contained: false, scattered: false }
    println!("{:?}", map1.write(8191, &[7; 1])); // Write(1, At(1, 65535), 5000, 7)
    println!("{:?}", unsafe { map1.get_ref().as_raw().as_ptr().add(8191).read() }); // Read(1, At(1, 65535))
    println!("{:?}", map1.get_ref().as_raw().flush()); // Flush(1)
    println!("{:?}", map1.get_ref().as_raw().flush_range(8191, 1)); // FlushRange(1, At(1, 65535), 1)
    println!("{:?}", map1.get_ref().as_raw().flush_async()); // FlushAsync(1)
    println!("{:?}", map1.get_ref().as_raw().flush_all(&file2)); // FlushAll(1)
    println!("{:?}", map1.get_ref().as_raw().start_writeback(&file1, 0, 8192)); // StartWriteback(1)
    println!("{:?}", map1.commit()); // Commit(1, true)
    println!("{:?}", map1.get_ref().as_raw().retry_flush()); // Retry(1)
    println!("{:?}", map1.get_ref().as_raw().advise_range(Advice::Random, 8191, 1)); // Advise(1, At(1, 65535), 5000, Random)
    println!("{:?}", unsafe { map1.get_ref().as_raw().unchecked_advise_range(UncheckedAdvice::DontNeed, 8191, 1) }); // Advise(1, At(1, 65535), 5000, DontNeed)
    println!("{:?}", map1.get_ref().as_raw().lock_range(8191, 1)); // Lock(1, At(1, 65535), 5000)
    println!("{:?}", map1.get_ref().as_raw().unlock_range(8191, 1)); // Unlock(1, At(1, 65535), 5000)
    println!("{:?}", map1.get_ref().as_raw().prefault_read(8191, 1)); // PrefaultRead(1, At(1, 65535), 5000)
    println!("{:?}", map1.get_ref().as_raw().prefault_write(8191, 1)); // PrefaultWrite(1, At(1, 65535), 5000)
    println!("{:?}", map1.get_ref().as_raw().resident_pages(0, 8192)); // Resident(1)
    println!("{:?}", map1.erase(7936, 8192)); // Erase(1, At(1, 65535))
    println!("{:?}", std::thread::scope(|scope| { scope.spawn(|| map1.get_ref().as_raw().retry_flush()); map1.get_ref().as_raw().flush().is_ok() })); // Beside(1)
    println!("{:?}", map1.get_ref().as_raw().acknowledge_lost()); // Acknowledge(1)
    println!("{:?}", unsafe { map1.get_mut().recover(&file1) }); // Recover(1)
    drop(map1); let mut map1 = Cursor::new(Tracked::<3>::new(unsafe { MmapOptions::new().offset(0).len(8192).map_mut(&file1) }.unwrap())); // Map { slot: 1, kind: Cursor, file: 1, from: At(0, 0), pages: 2, contained: false, scattered: false }
    map1.set_position(8191); map1.write_all(&[7; 1]).unwrap(); // Write(1, At(1, 65535), 5000, 7)
    println!("{:?}", unsafe { map1.get_ref().as_map().as_raw().as_ptr().add(8191).read() }); // Read(1, At(1, 65535))
    println!("{:?}", map1.get_ref().as_map().as_raw().flush()); // Flush(1)
    println!("{:?}", map1.get_ref().as_map().as_raw().flush_range(8191, 1)); // FlushRange(1, At(1, 65535), 1)
    println!("{:?}", map1.get_ref().as_map().as_raw().flush_async()); // FlushAsync(1)
    println!("{:?}", map1.get_ref().as_map().as_raw().flush_all(&file2)); // FlushAll(1)
    println!("{:?}", map1.get_ref().as_map().as_raw().start_writeback(&file1, 0, 8192)); // StartWriteback(1)
    println!("{:?}", map1.flush()); // Commit(1, true)
    println!("{:?}", map1.get_mut().retry()); // Retry(1)
    println!("{:?}", map1.get_ref().as_map().as_raw().advise_range(Advice::Random, 8191, 1)); // Advise(1, At(1, 65535), 5000, Random)
    println!("{:?}", unsafe { map1.get_ref().as_map().as_raw().unchecked_advise_range(UncheckedAdvice::DontNeed, 8191, 1) }); // Advise(1, At(1, 65535), 5000, DontNeed)
    println!("{:?}", map1.get_ref().as_map().as_raw().lock_range(8191, 1)); // Lock(1, At(1, 65535), 5000)
    println!("{:?}", map1.get_ref().as_map().as_raw().unlock_range(8191, 1)); // Unlock(1, At(1, 65535), 5000)
    println!("{:?}", map1.get_ref().as_map().as_raw().prefault_read(8191, 1)); // PrefaultRead(1, At(1, 65535), 5000)
    println!("{:?}", map1.get_ref().as_map().as_raw().prefault_write(8191, 1)); // PrefaultWrite(1, At(1, 65535), 5000)
    println!("{:?}", map1.get_ref().as_map().as_raw().resident_pages(0, 8192)); // Resident(1)
    println!("{:?}", std::thread::scope(|scope| { scope.spawn(|| map1.get_ref().as_map().as_raw().retry_flush()); map1.get_ref().as_map().as_raw().flush().is_ok() })); // Beside(1)
    println!("{:?}", map1.get_ref().as_map().as_raw().acknowledge_lost()); // Acknowledge(1)
    println!("{:?}", unsafe { map1.get_mut().grow(&file1, 12288) }); // Grow(1, 3)
    println!("{:?}", unsafe { map1.get_mut().recover(&file1) }); // Recover(1)
    let mut anon = MmapOptions::new().len(8192).map_anon().unwrap(); // Anon(Private, 2)
    anon[8191..][..1].fill(7); // Store(At(1, 65535), 5000, 7)
    println!("{:?}", anon.as_raw().lock_range(8191, 1)); // Advice(At(1, 65535), 5000, Lock)
    println!("{:?}", anon.as_raw().unlock_range(8191, 1)); // Advice(At(1, 65535), 5000, Unlock)
    println!("{:?}", unsafe { anon.as_raw().unchecked_advise_range(UncheckedAdvice::DontNeed, 8191, 1) }); // Advice(At(1, 65535), 5000, DontNeed)
    println!("{:?}", unsafe { anon.as_raw().unchecked_advise_range(UncheckedAdvice::Free, 8191, 1) }); // Advice(At(1, 65535), 5000, Free)
    println!("{:?}", unsafe { anon.as_raw().unchecked_advise_range(UncheckedAdvice::Remove, 8191, 1) }); // Advice(At(1, 65535), 5000, Remove)
    println!("{:?}", anon.as_raw().advise_range(Advice::DontFork, 8191, 1)); // Advice(At(1, 65535), 5000, KeepFromChildren)
    println!("{:?}", unsafe { anon.as_raw().wipe_on_fork(true) }); // Advice(At(1, 65535), 5000, Wipe(true))
    drop(anon); let mut anon = MmapOptions::new().len(8192).map_anon_shared().unwrap(); // Anon(Shared, 2)
    unsafe { anon.as_mut_ptr().add(8191).write_bytes(7, 1) }; // Store(At(1, 65535), 5000, 7)
    println!("{:?}", anon.lock_range(8191, 1)); // Advice(At(1, 65535), 5000, Lock)
    println!("{:?}", anon.unlock_range(8191, 1)); // Advice(At(1, 65535), 5000, Unlock)
    println!("{:?}", unsafe { anon.unchecked_advise_range(UncheckedAdvice::DontNeed, 8191, 1) }); // Advice(At(1, 65535), 5000, DontNeed)
    println!("{:?}", unsafe { anon.unchecked_advise_range(UncheckedAdvice::Free, 8191, 1) }); // Advice(At(1, 65535), 5000, Free)
    println!("{:?}", unsafe { anon.unchecked_advise_range(UncheckedAdvice::Remove, 8191, 1) }); // Advice(At(1, 65535), 5000, Remove)
    println!("{:?}", anon.advise_range(Advice::DontFork, 8191, 1)); // Advice(At(1, 65535), 5000, KeepFromChildren)
    println!("{:?}", unsafe { anon.wipe_on_fork(true) }); // Advice(At(1, 65535), 5000, Wipe(true))
    drop(anon); let mut anon = rawmap_core::Guarded::new(8192).unwrap(); // Anon(Guarded, 2)
    anon[8191..][..1].fill(7); // Store(At(1, 65535), 5000, 7)
    println!("{:?}", anon.lock()); // Advice(At(1, 65535), 5000, Lock)
    println!("{:?}", anon.advise(Advice::DontDump)); // Advice(At(1, 65535), 5000, Unlock)
    println!("{:?}", anon.advise(Advice::DontDump)); // Advice(At(1, 65535), 5000, DontNeed)
    println!("{:?}", anon.advise(Advice::DontDump)); // Advice(At(1, 65535), 5000, Free)
    println!("{:?}", anon.advise(Advice::DontDump)); // Advice(At(1, 65535), 5000, Remove)
    println!("{:?}", anon.advise(Advice::DontFork)); // Advice(At(1, 65535), 5000, KeepFromChildren)
    println!("{:?}", anon.advise(Advice::DontDump)); // Advice(At(1, 65535), 5000, Wipe(true))
    drop(map1);  // Unmap(1)
    disk.fail(); // Fail
    disk.recover(); // Work
    fill_with(&filler); filler.sync_all().unwrap(); // Fill
    filler.set_len(0).unwrap(); // Empty
    println!("{:?}", peer.sync_all()); // Told
    MmapRaw::map_raw(&peer).map(|map| map.start_writeback(&peer, 0, map.len())); // WriteBack
    unsafe { libc::posix_fadvise(peer.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) }; // DropClean
    file2 = open(); // Open(2)
    println!("{:?}", peer.set_len(24576)); // Truncate(6)
    unsafe { libc::fallocate(peer.as_raw_fd(), libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, 4096, 8192) }; // Punch(1, 2)
    println!("{:?}", peer.write_at(&[8; 5000], 8191)); // Peer(At(1, 65535), 5000, 8)
    event::write_and_die(&peer, 8191, 5000, 9); // Killed(At(1, 65535), 5000, 9)
    event::start_timer(libc::SIGBUS); // Timer(true)
    event::fork(|| true); // Fork
    println!("{:?}", rawmap_core::reserve(&file0, 0, 36864)); // Reserve(0, 9)
    println!("{:?}", add_seals(file, Seals::SEAL)); // Seal(Seals)
    limits.near(step::Limit::Locked, 1); // Limit(Locked, 1)
    refuse::always(step::Refused::Mlock, 1); // Refuse(Mlock, 1, 0)
    std::mem::forget(refuse::next(step::Refused::Mincore, 1, 2)); // Refuse(Mincore, 1, 2)
    event::be_nobody(); // Nobody
}
