//! The pages of documentation: links, kernels, tables and how long they are.

use std::path::Path;

use crate::matrix::{read, root, rows, text};

/// The README says of which commit the results are.
#[test]
fn the_results_are_of_the_commit_that_the_readme_names() {
    let readme = read("README.md");
    for name in ["qemu/results/powercut.md", "qemu/results/kernels.md"] {
        let commit = |text: &str| -> String {
            let (_, rest) = text.split_once("commit ").expect("a commit");
            rest.chars()
                .take_while(|c| c.is_ascii_alphanumeric())
                .collect()
        };
        let (_, link) = readme.split_once(&format!("({name}) of ")).expect("a link");
        assert_eq!(commit(link), commit(&read(name)), "{name}");
    }
}

/// Every link of a page to a file of the tree has one, and to a heading, too.
#[test]
fn links_lead_somewhere() {
    const PAGES: &[&str] = &[
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "core/README.md",
        "core/DESIGN.md",
        "core/FORMAT.md",
        "std/README.md",
        "std/COMPARISON.md",
        "std/DEVICES.md",
        "std/STORAGE.md",
        "qemu/README.md",
        "tests/README.md",
    ];
    let anchors = |text: &str| -> Vec<String> {
        let headings = text.lines().filter(|line| line.starts_with('#'));
        let anchor = |line: &str| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .replace(' ', "-")
        };
        headings.map(anchor).collect()
    };
    let mut links = 0;
    for page in PAGES {
        let (text, folder) = (read(page), root().join(page));
        for (_, rest) in text
            .match_indices("](")
            .map(|(at, _)| text.split_at(at + 2))
        {
            let (link, _) = rest.split_once(')').expect("a link ends");
            if link.starts_with("http") || link.contains("::") || link.contains(' ') {
                continue;
            }
            links += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = match path {
                "" => folder.clone(),
                path => folder.parent().unwrap().join(path),
            };
            assert!(path.exists(), "{page}: {link}");
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(
                    anchors(&text).iter().any(|found| found == anchor),
                    "{page}: {link}"
                );
            }
        }
    }
    assert!(links > 30, "{links} links");
}

/// Each kernel that the documentation of a call names is in the table of the guide.
#[test]
fn the_guide_has_every_kernel_of_the_docs() {
    let table = read("std/guide/kernels.md");
    let rows = table.lines().filter(|line| line.starts_with('|'));
    let known: Vec<_> = rows.flat_map(versions).collect();
    let mut missing = Vec::new();
    let mut found = 0;
    let sources = ["core/src", "std/src"].map(|folder| files(&root().join(folder)));
    // What is private says more.
    let private = |path: &std::path::PathBuf| path.to_string_lossy().contains("core/src/sys");
    for path in sources.into_iter().flatten().filter(|path| !private(path)) {
        let source = std::fs::read_to_string(&path).unwrap();
        let public = |line: &&str| {
            let line = line.trim_start();
            line.starts_with("///") || line.starts_with("//!") || line.contains('"')
        };
        for line in source.lines().filter(public) {
            for (_, rest) in line
                .match_indices("Linux ")
                .map(|(at, _)| line.split_at(at + 6))
            {
                // With "6.1 and 6.12".
                let list = rest.replace(" and ", " ").replace(", ", " ");
                let words = list
                    .split(' ')
                    .map(|word| word.trim_end_matches([')', '.', ',', ';', '"']));
                for version in words.map_while(|word| versions(word).pop().filter(|of| *of == word))
                {
                    found += 1;
                    if !known.contains(&version) {
                        missing.push(format!("{}: {version}", path.display()));
                    }
                }
            }
        }
    }
    assert!(found > 20, "{found}");
    assert!(missing.is_empty(), "{missing:?}");
}

/// The words of a text that are numbers with one point.
fn versions(text: &str) -> Vec<&str> {
    let words = text.split(|of: char| !(of.is_ascii_digit() || of == '.'));
    let words = words.map(|word| word.trim_matches('.'));
    words
        .filter(|word| word.matches('.').count() == 1)
        .collect()
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// A reader sees code soon, and need not read for long.
#[test]
fn the_readme_is_short() {
    let readme = read("README.md");
    assert!(
        readme
            .split_whitespace()
            .filter(|word| word.contains(char::is_alphanumeric))
            .count()
            <= 1200
    );
    let first = readme.lines().position(|line| line.starts_with("```"));
    assert!(first.is_some_and(|line| line < 25), "{first:?}");
}

/// Its table of targets is that of the rows: where it is not, this prints what belongs there.
#[test]
fn the_readme_lists_every_row() {
    let machines: toml::Table = read("qemu/machines.toml").parse().unwrap();
    let kernels = |triple: &str| -> String {
        let machines = machines["machine"].as_array().unwrap().iter();
        let names = machines.filter(|row| text(row, "target") == triple);
        let names: Vec<_> = names.map(|row| text(row, "name")).collect();
        names.join(", ")
    };
    let calls = |row: &toml::Value| match text(row, "backend") {
        "raw" => "no",
        _ => "yes",
    };
    let head = |row: &toml::Value| {
        let (triple, endian) = (text(row, "triple"), text(row, "endian"));
        format!(
            "| `{triple}` | {} | {endian} | {} ",
            row["width"],
            calls(row)
        )
    };
    let mut lines = String::from(
        "| target | bits | endian | libc | pages, KiB | runs | without std | kernels |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows() {
        let pages = row["pages"].as_array().unwrap().iter();
        let pages: Vec<_> = pages.map(ToString::to_string).collect();
        let how = match text(&row, "qemu") {
            "" => "native",
            // Without its options.
            qemu => qemu.split(' ').next().unwrap_or(qemu),
        };
        let freestanding = row["rungs"].as_array().unwrap().len() == 3;
        let freestanding = if freestanding { "yes" } else { "" };
        let kernels = kernels(text(&row, "triple"));
        let cells =
            [&pages.join(" "), how, freestanding, &kernels].map(|cell| format!("| {cell} "));
        lines += &format!("{}{}|\n", head(&row), cells.concat());
    }
    let table: toml::Table = read("targets/targets.toml").parse().unwrap();
    for row in table["checked"].as_array().unwrap() {
        lines += &format!("{}| | checked: {} | | |\n", head(row), text(row, "why"));
    }
    let lines = lines.replace("|  |", "| |").replace("  |", " |");
    assert!(
        read("README.md").contains(&format!("\n\n{lines}\n")),
        "README.md has not:\n{lines}"
    );
}
