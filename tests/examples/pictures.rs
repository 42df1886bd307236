//! `pictures [--check]`: draws what the pages show, from numbers: the pages of a ranged flush by rawmap's own page math, and
//! power cuts from the table in qemu/results. With --check it compares, and fails where a picture is another.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use rawmap_core::{PageSize, Span};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const MAP: RGBColor = RGBColor(0xC9, 0xDD, 0xF2);
const PAGES: RGBColor = RGBColor(0xF2, 0xA9, 0x3B);
const ASKED: RGBColor = RGBColor(0x1F, 0x5A, 0x9E);
const LOST: RGBColor = RGBColor(0xB0, 0x2A, 0x2A);

fn main() -> ExitCode {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            eprintln!("pictures: unknown argument {other}; usage: [--check]");
            return ExitCode::from(2);
        }
    };
    let drawn = pages().and_then(|pages| Ok([pages, power_cuts()?]));
    let pictures = match drawn {
        Ok(pictures) => pictures,
        Err(error) => {
            eprintln!("pictures: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut status = ExitCode::SUCCESS;
    for (path, text) in pictures {
        if !check {
            if let Err(error) = std::fs::write(&path, text) {
                eprintln!("pictures: {}: {error}", path.display());
                return ExitCode::FAILURE;
            }
            println!("drawn: {}", path.display());
        } else if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            eprintln!(
                "pictures: {} is of other numbers; draw it: cargo run --package rawmap-tests --example pictures",
                path.display()
            );
            status = ExitCode::FAILURE;
        }
    }
    status
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the tree")
}

fn words<'a>(size: i32, at: (HPos, VPos), color: &'a RGBColor) -> TextStyle<'a> {
    ("sans-serif", size)
        .into_font()
        .color(color)
        .pos(Pos::new(at.0, at.1))
}

/// The bytes that are asked for, and the pages that msync(2) gets for them.
fn pages() -> Result<(PathBuf, String)> {
    const WIDTH: u32 = 960;
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let title = words(20, (HPos::Left, VPos::Top), &BLACK);
        area.draw_text(
            "map.flush_range(2500, 6000), of a map that starts at byte 5096 of its file",
            &title,
            (20, 14),
        )?;
        for (row, (kib, shown)) in [(4, 24_576_u64), (64, 131_072)].into_iter().enumerate() {
            let size = PageSize::new(kib * 1024)?;
            flush(&area, i32::try_from(row)? * 170 + 70, size, shown)?;
        }
        let legend = [
            (MAP, "the map"),
            (PAGES, "the pages that msync(2) gets"),
            (ASKED, "the bytes that are asked for"),
        ];
        for (place, (color, what)) in legend.into_iter().enumerate() {
            let x = 20 + 300 * i32::try_from(place)?;
            area.draw(&Rectangle::new([(x, 388), (x + 24, 404)], color.filled()))?;
            area.draw_text(
                what,
                &words(16, (HPos::Left, VPos::Center), &BLACK),
                (x + 32, 396),
            )?;
        }
        area.present()?;
    }
    Ok((root().join("core/pages.svg"), text))
}

fn flush(area: &Area<'_>, top: i32, page: PageSize, shown: u64) -> Result<()> {
    const OFFSET: usize = 5096;
    const LEN: usize = 14_000;
    let pixel = |byte: usize| -> Result<i32> { Ok(20 + i32::try_from(byte as u64 * 920 / shown)?) };
    // The kernel maps from the start of a page.
    let lead = OFFSET % page.get();
    let start = OFFSET - lead;
    let asked = Span::new(lead + 2500, 6000, lead + LEN)?;
    let (first, len) = asked.pages(page).ok_or("a page is past the end")?;
    let bar = |from: usize, to: usize, y: (i32, i32), color: RGBColor| -> Result<()> {
        Ok(area.draw(&Rectangle::new(
            [(pixel(from)?, top + y.0), (pixel(to)?, top + y.1)],
            color.filled(),
        ))?)
    };
    bar(start + first, start + first + len, (24, 84), PAGES)?;
    bar(OFFSET, OFFSET + LEN, (34, 74), MAP)?;
    bar(start + asked.offset(), start + asked.end(), (44, 64), ASKED)?;
    for number in 0..=usize::try_from(shown)? / page.get() {
        let x = pixel(number * page.get())?;
        area.draw(&PathElement::new([(x, top + 18), (x, top + 90)], BLACK))?;
        let anchor = if number == 0 { HPos::Left } else { HPos::Right };
        let text = (number * page.get()).to_string();
        area.draw_text(
            &text,
            &words(14, (anchor, VPos::Top), &BLACK),
            (x, top + 94),
        )?;
    }
    let text = format!(
        "pages of {} KiB: msync(2) gets bytes {} to {} of the file",
        page.get() / 1024,
        start + first,
        start + first + len
    );
    area.draw_text(
        &text,
        &words(16, (HPos::Left, VPos::Bottom), &BLACK),
        (20, top + 12),
    )?;
    Ok(())
}

/// Of a machine and a file system: cuts of flushes, what they acknowledged and lost, and what the controls lost.
#[derive(Default)]
struct Cell {
    cuts: u64,
    acknowledged: u64,
    lost: u64,
    controls: (u64, u64),
}

/// The table of qemu/results/powercut.md as a picture.
fn power_cuts() -> Result<(PathBuf, String)> {
    let table = std::fs::read_to_string(root().join("qemu/results/powercut.md"))?;
    let mut cells: BTreeMap<(String, String), Cell> = BTreeMap::new();
    let (mut columns, mut head) = (Vec::new(), "");
    for line in table.lines() {
        let row: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if line.starts_with('`') {
            head = line;
        } else if row.first() == Some(&"machine") {
            columns = row;
        } else if line.starts_with("| ") && !columns.is_empty() {
            let of = |name: &str| {
                let place = columns.iter().position(|column| *column == name);
                place
                    .and_then(|place| row.get(place))
                    .copied()
                    .ok_or(format!("no column {name}"))
            };
            let cell = cells
                .entry((of("machine")?.to_owned(), of("file system")?.to_owned()))
                .or_default();
            let number = |name: &str| -> Result<u64> { Ok(of(name)?.parse()?) };
            let (cuts, checked) = (number("cuts")?, number("acknowledgements checked")?);
            let lost = number("lost")?;
            match of("run")? {
                run if run.contains("control") || run.contains("must lose") => {
                    cell.controls.0 += checked;
                    cell.controls.1 += lost;
                }
                _ => {
                    cell.cuts += cuts;
                    cell.acknowledged += checked;
                    cell.lost += lost;
                }
            }
        }
    }
    let machines: Vec<String> = unique(cells.keys().map(|(machine, _)| machine));
    let filesystems: Vec<String> = unique(cells.keys().map(|(_, filesystem)| filesystem));
    let (width, height) = (
        170 + 150 * u32::try_from(filesystems.len())?,
        130 + 46 * u32::try_from(machines.len())?,
    );
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
        area.fill(&WHITE)?;
        let left = |size| words(size, (HPos::Left, VPos::Center), &BLACK);
        area.draw_text(
            "Acknowledged bytes that a power cut took",
            &left(20),
            (20, 24),
        )?;
        let said = "In each cell: acknowledgements lost, of those checked, and cuts; below, the same of the controls, flushes that are wrong";
        area.draw_text(said, &left(14), (20, 50))?;
        for (column, filesystem) in filesystems.iter().enumerate() {
            let x = 170 + 150 * i32::try_from(column)?;
            area.draw_text(filesystem, &left(16), (x, 82))?;
            for (line, machine) in machines.iter().enumerate() {
                let y = 100 + 46 * i32::try_from(line)?;
                if column == 0 {
                    area.draw_text(machine, &left(16), (20, y + 20))?;
                }
                let Some(cell) = cells.get(&(machine.clone(), filesystem.clone())) else {
                    continue;
                };
                let color = if cell.lost == 0 { MAP } else { LOST };
                area.draw(&Rectangle::new(
                    [(x - 6, y), (x + 138, y + 40)],
                    color.filled(),
                ))?;
                let cuts = format!("{} of {}, {} cuts", cell.lost, cell.acknowledged, cell.cuts);
                area.draw_text(&cuts, &left(13), (x, y + 13))?;
                let (checked, lost) = cell.controls;
                let controls = if checked == 0 {
                    "no control".to_owned()
                } else {
                    format!("controls {lost} of {checked}")
                };
                area.draw_text(&controls, &left(12), (x, y + 29))?;
            }
        }
        let from = head.split(", ").nth(2).unwrap_or_default().to_owned();
        let from = format!("qemu/results/powercut.md, {from}");
        area.draw_text(&from, &left(12), (20, i32::try_from(height)? - 14))?;
        area.present()?;
    }
    Ok((root().join("qemu/results/powercut.svg"), text))
}

fn unique<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let set: std::collections::BTreeSet<&String> = names.collect();
    set.into_iter().cloned().collect()
}
