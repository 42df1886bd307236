//! Opens a file, maps it, writes a record into its second page, flushes that range, unmaps.

use std::fs::File;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        return ExitCode::from(1);
    };
    let Ok(file) = File::options().read(true).write(true).open(path) else {
        return ExitCode::from(2);
    };
    // memmap2 does not tell the page size.
    let page = 4096;
    let options = memmap2::MmapOptions::new().len(2 * page).clone();
    // SAFETY: nobody else uses the file.
    let Ok(mut map) = (unsafe { options.map_mut(&file) }) else {
        return ExitCode::from(4);
    };
    map[page + 8..page + 12].copy_from_slice(&0xC0FF_EE42_u32.to_ne_bytes());
    match map.flush_range(page + 8, 4) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(5),
    }
}
