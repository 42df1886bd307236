//! The images that cuts leave, and what a guest reads in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rawmap_guest::job::{Disk, Job, Verify, say, serial};
use rawmap_guest::piece::{Piece, SLOT_HEAD};
use rawmap_guest::workload::Scenario;

use super::medium::{self, Left, Medium, Sum};
use super::places::Cut;
use super::run::{self, Run, title};
use crate::cache::Temporary;
use crate::disks::{self, disk};
use crate::machine::{Guest, Ready};
use crate::rows::Filesystem;

/// Images of one run, and how they are read.
pub struct Images<'a> {
    ready: &'a Ready<'a>,
    filesystem: &'a Filesystem,
    run: &'a Run,
    /// The files of each, by the image's checksum; `None` for one that could not be mounted.
    read: BTreeMap<Sum, Option<Pieces>>,
    /// Those that could be mounted after the row's rescue only.
    rescued: BTreeSet<Sum>,
    /// What the files share.
    pieces: BTreeSet<Rc<[u8]>>,
}

/// The files of an image, in the order of the styles.
pub type Pieces = Vec<Rc<[u8]>>;

impl<'a> Images<'a> {
    /// None yet.
    pub fn new(ready: &'a Ready<'a>, filesystem: &'a Filesystem, run: &'a Run) -> Self {
        Self {
            ready,
            filesystem,
            run,
            read: BTreeMap::new(),
            rescued: BTreeSet::new(),
            pieces: BTreeSet::new(),
        }
    }

    /// The files of one that was read; `None` where it could not be mounted.
    pub fn files(&self, sum: &Sum) -> Option<&[Rc<[u8]>]> {
        self.read.get(sum)?.as_deref()
    }

    /// Whether it took a rescue to mount one.
    pub fn is_rescued(&self, sum: &Sum) -> bool {
        self.rescued.contains(sum)
    }

    /// Whether images that cannot be read are nothing to tell of.
    fn must_break(&self) -> bool {
        self.run.scenario == Scenario::NoBarrier
    }

    /// Makes the images of these cuts and has a guest read those that were not read yet: the kernel that wrote
    /// them repairs them. Returns what each cut left.
    pub fn read(&mut self, medium: &mut Medium<'_>, cuts: &[Cut]) -> Result<Vec<Left>> {
        let folder = Temporary::new()?;
        let (one, all) = (folder.path().join("image"), folder.path().join("images"));
        let flash = self.filesystem.is_flash();
        let image_len = self.filesystem.mib << 20;
        let file = fs::File::create(&all)?;
        let (mut all_left, mut new) = (Vec::new(), Vec::new());
        for cut in cuts {
            let left = medium.cut(*cut, self.run.seed, &fs::File::create(&one)?)?;
            all_left.push(left);
            let sum = left.sum;
            if self.read.contains_key(&sum) {
                continue;
            }
            self.read.insert(sum, None);
            if !flash {
                disks::repair(&self.filesystem.repair, &one).with_context(|| cut.to_string())?;
                medium::append(&one, &file, new.len() as u64 * image_len)?;
            }
            new.push((*cut, sum));
        }
        if new.is_empty() {
            return Ok(all_left);
        }
        file.set_len(new.len() as u64 * image_len)?;
        let (new, new_sums): (Vec<_>, Vec<_>) = new.into_iter().unzip();
        let mut media = self.boot(if flash { &one } else { &all }, new.len())?;
        if !self.filesystem.rescue.is_empty() {
            for number in self.rescue(&all, &new, &mut media)? {
                self.rescued.insert(new_sums[number]);
            }
        }
        self.read.extend(new_sums.into_iter().zip(media));
        Ok(all_left)
    }

    /// Has what could not be read repaired, as one does with a board that does not start, and read again. Gives which these
    /// were.
    fn rescue(
        &mut self,
        image: &Path,
        cuts: &[Cut],
        media: &mut [Option<Pieces>],
    ) -> Result<Vec<usize>> {
        let broken = media
            .iter()
            .enumerate()
            .filter(|(_, pieces)| pieces.is_none());
        let broken: Vec<usize> = broken.map(|(number, _)| number).collect();
        if broken.is_empty() {
            return Ok(broken);
        }
        let image_len = self.filesystem.mib << 20;
        let folder = Temporary::new()?;
        let (one, again) = (folder.path().join("image"), folder.path().join("images"));
        let from = fs::File::open(image)?;
        let all = fs::File::create(&again)?;
        all.set_len(broken.len() as u64 * image_len)?;
        for (place, number) in (0..).zip(&broken) {
            let mut bytes = vec![0; usize::try_from(image_len)?];
            from.read_exact_at(&mut bytes, *number as u64 * image_len)?;
            fs::write(&one, bytes)?;
            let cut = cuts[*number];
            disks::repair(&self.filesystem.rescue, &one).with_context(|| cut.to_string())?;
            if !self.must_break() {
                let title = title(self.ready.machine, self.filesystem, self.run.scenario);
                let rescue = self.filesystem.rescue.join(" ");
                println!("{title}: {cut}: repaired by {rescue}");
            }
            medium::append(&one, &all, place * image_len)?;
        }
        for (number, pieces) in broken.iter().zip(self.boot(&again, broken.len())?) {
            media[*number] = pieces;
        }
        Ok(broken)
    }

    /// Has a guest read so many images.
    fn boot(&mut self, image: &Path, count: usize) -> Result<Vec<Option<Pieces>>> {
        let machine = self.ready.machine;
        let flash = self.filesystem.is_flash();
        let image_len = self.filesystem.mib << 20;
        let folder = Temporary::new()?;
        let results = folder.path().join("results");
        let mut styles = self.run.scenario.styles(self.run.large_files);
        styles.sort();
        let files: Vec<Piece> = styles
            .iter()
            .map(|style| style.piece(self.run.page))
            .collect();
        let per_image: usize = files.iter().map(Piece::slot).sum();
        fs::File::create(&results)?.set_len((count * per_image) as u64)?;
        let (mut devices, kernel_arguments) = match flash {
            true => disks::empty_flash(machine, image, None)?,
            false => (disk(machine, image, serial::IMAGES), String::new()),
        };
        devices.extend(disk(machine, &results, serial::RESULTS));
        let plain = run::disk(self.filesystem, Scenario::Flushes);
        let job = Verify {
            disk: Disk {
                device: if flash {
                    plain.device.clone()
                } else {
                    serial::IMAGES.to_owned()
                },
                ..plain
            },
            images: u32::try_from(count)?,
            partitions: !flash,
            image_len,
            files: files.clone(),
            results: serial::RESULTS.to_owned(),
        };
        let limit = Duration::from_secs(600);
        let job = Job::Verify(job);
        let mut guest = self.ready.boot(&job, &kernel_arguments, &devices, limit)?;
        let read = read_images(&mut guest, count, self.must_break());
        let read = guest.keep(read)?;
        drop(guest);
        let mut media = Vec::new();
        for (number, ok) in read.into_iter().enumerate() {
            let bytes = ok.then(|| pieces(&results, number * per_image, &files));
            let bytes = bytes.transpose()?;
            media.push(
                bytes.map(|pieces| pieces.into_iter().map(|piece| self.shared(piece)).collect()),
            );
        }
        Ok(media)
    }

    /// A piece as it is kept: most are the same in the next image.
    fn shared(&mut self, piece: Vec<u8>) -> Rc<[u8]> {
        if let Some(known) = self.pieces.get(&piece[..]) {
            return Rc::clone(known);
        }
        let new: Rc<[u8]> = piece.into();
        self.pieces.insert(Rc::clone(&new));
        new
    }
}

/// Waits for the guest to have read all images, one after the other. Tells of each whether it could.
fn read_images(guest: &mut Guest, count: usize, quiet: bool) -> Result<Vec<bool>> {
    let mut read = Vec::new();
    while let Some(line) = guest.line()? {
        if let Some(text) = line.strip_prefix(say::IMAGE) {
            let (number, how) = text.split_once(' ').context("an image's number")?;
            let in_turn = number.parse() == Ok(read.len()) && read.len() < count;
            ensure!(
                in_turn,
                "the guest is at image {number}, not {}",
                read.len()
            );
            if how != "ok" && !quiet {
                println!("image {number}: {how}");
            }
            read.push(how == "ok");
        }
    }
    let ended = read.len();
    ensure!(
        ended == count,
        "the guest ended after {ended} of {count} images"
    );
    Ok(read)
}

/// Reads them where the guest has put them. Where a file is shorter there are zeros, as in a new page of it.
fn pieces(results: &Path, start: usize, files: &[Piece]) -> Result<Vec<Vec<u8>>> {
    let file = fs::File::open(results)?;
    let mut at = start as u64;
    let mut pieces = Vec::new();
    for piece in files {
        let mut there = [0; 8];
        file.read_exact_at(&mut there, at)?;
        let there = u64::from_le_bytes(there);
        ensure!(
            there <= piece.len as u64,
            "{}: {there} bytes were read",
            piece.file
        );
        let mut bytes = vec![0; piece.len];
        file.read_exact_at(&mut bytes[..there as usize], at + SLOT_HEAD as u64)?;
        pieces.push(bytes);
        at += piece.slot() as u64;
    }
    Ok(pieces)
}
