//! The images that cuts leave, and what a guest reads in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rawmap_guest::job::{Disk, Job, Verify, say};
use rawmap_guest::piece::{Piece, SLOT_HEAD};
use rawmap_guest::workload::Scenario;

use super::cuts::{self, Cut, Medium, Sum};
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
    /// What these share.
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
            pieces: BTreeSet::new(),
        }
    }

    /// The files of one that was read; `None` where it could not be mounted.
    pub fn files(&self, sum: &Sum) -> Option<&[Rc<[u8]>]> {
        self.read.get(sum)?.as_deref()
    }

    /// How many differ.
    pub fn different(&self) -> usize {
        self.read.len()
    }

    /// Whether images that cannot be read are nothing to tell of.
    fn must_break(&self) -> bool {
        self.run.scenario == Scenario::NoBarrier
    }

    /// Makes the images of these cuts and has a guest read those that were not read yet: the kernel that wrote
    /// them repairs them. Gives the images' checksums.
    pub fn read(&mut self, medium: &mut Medium<'_>, cuts: &[Cut]) -> Result<Vec<Sum>> {
        let folder = Temporary::new()?;
        let (one, all) = (folder.path().join("image"), folder.path().join("images"));
        let flash = self.filesystem.is_flash();
        let image_len = self.filesystem.mib << 20;
        let file = fs::File::create(&all)?;
        let (mut sums, mut new) = (Vec::new(), Vec::new());
        for cut in cuts {
            let sum = medium.cut(*cut, self.run.seed, &fs::File::create(&one)?)?;
            sums.push(sum);
            if self.read.contains_key(&sum) {
                continue;
            }
            self.read.insert(sum, None);
            if !flash {
                disks::repair(&self.filesystem.repair, &one).with_context(|| cut.to_string())?;
                cuts::append(&one, &file, new.len() as u64 * image_len)?;
            }
            new.push((*cut, sum));
        }
        if new.is_empty() {
            return Ok(sums);
        }
        file.set_len(new.len() as u64 * image_len)?;
        let (new, new_sums): (Vec<_>, Vec<_>) = new.into_iter().unzip();
        let mut media = self.boot(if flash { &one } else { &all }, new.len())?;
        if !self.filesystem.rescue.is_empty() {
            self.rescue(&all, &new, &mut media)?;
        }
        self.read.extend(new_sums.into_iter().zip(media));
        Ok(sums)
    }

    /// Has what could not be read repaired, as one does with a board that does not start, and read again.
    fn rescue(&mut self, image: &Path, cuts: &[Cut], media: &mut [Option<Pieces>]) -> Result<()> {
        let broken = media
            .iter()
            .enumerate()
            .filter(|(_, pieces)| pieces.is_none());
        let broken: Vec<usize> = broken.map(|(number, _)| number).collect();
        if broken.is_empty() {
            return Ok(());
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
            cuts::append(&one, &all, place * image_len)?;
        }
        for (number, pieces) in broken.iter().zip(self.boot(&again, broken.len())?) {
            media[*number] = pieces;
        }
        Ok(())
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
            false => (disk(image, 0), String::new()),
        };
        let letter = if flash { "a" } else { "b" };
        devices.extend(disk(&results, 1));
        let plain = run::disk(self.filesystem, Scenario::Flushes);
        let job = Verify {
            disk: Disk {
                device: if flash {
                    plain.device.clone()
                } else {
                    "/dev/vda".to_owned()
                },
                ..plain
            },
            images: u32::try_from(count)?,
            partitions: !flash,
            image_len,
            files: files.clone(),
            results: format!("/dev/vd{letter}"),
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

/// Waits for the guest to have read all images. Tells of each whether it could.
fn read_images(guest: &mut Guest, count: usize, quiet: bool) -> Result<Vec<bool>> {
    let mut read = vec![None; count];
    while let Some(line) = guest.line()? {
        if let Some(text) = line.strip_prefix(say::IMAGE) {
            let (number, how) = text.split_once(' ').context("an image's number")?;
            let number: usize = number.parse()?;
            if how != "ok" && !quiet {
                println!("image {number}: {how}");
            }
            *read.get_mut(number).context("an image's number")? = Some(how == "ok");
        }
    }
    let all: Option<Vec<bool>> = read.into_iter().collect();
    all.context("the guest ended before it had read all images")
}

fn pieces(results: &Path, start: usize, files: &[Piece]) -> Result<Vec<Vec<u8>>> {
    let file = fs::File::open(results)?;
    let mut at = start as u64;
    let mut pieces = Vec::new();
    for piece in files {
        // Where the file is shorter there are zeros, as in a new page of it.
        let mut bytes = vec![0; piece.len];
        file.read_exact_at(&mut bytes, at + SLOT_HEAD as u64)?;
        pieces.push(bytes);
        at += piece.slot() as u64;
    }
    Ok(pieces)
}
