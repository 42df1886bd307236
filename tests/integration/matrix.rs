//! `targets/targets.toml` against everything that must agree with it.

use std::path::Path;
use std::process::Command;

use rawmap_tests::{TARGET, is_slow, skip};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rows() -> Vec<toml::Value> {
    let table: toml::Table = read("targets/targets.toml").parse().unwrap();
    table["target"].as_array().unwrap().clone()
}

fn text<'a>(row: &'a toml::Value, key: &str) -> &'a str {
    row[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is no string"))
}

#[test]
fn this_target_is_what_its_row_says() {
    let rows = rows();
    let row = rows.iter().find(|row| text(row, "triple") == TARGET);
    let row = row.unwrap_or_else(|| panic!("targets.toml has no row for {TARGET}"));
    assert_eq!(row["width"].as_integer(), Some(i64::from(usize::BITS)));
    let endian = if cfg!(target_endian = "little") {
        "little"
    } else {
        "big"
    };
    assert_eq!(text(row, "endian"), endian);
    assert_eq!(is_slow(), !text(row, "qemu").is_empty());
    let kib = i64::try_from(rawmap::page_size().unwrap().get() / 1024).unwrap();
    let pages = row["pages"].as_array().unwrap();
    assert!(
        pages.iter().any(|size| size.as_integer() == Some(kib)),
        "{kib} KiB pages"
    );
}

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

/// A rung that is dropped from a row is missed.
#[test]
fn each_row_has_its_rungs() {
    const ALL: &[(&str, &[i64])] = &[
        ("x86_64-unknown-linux-gnu", &[1, 2, 3]),
        ("i686-unknown-linux-gnu", &[1, 2]),
        ("armv7-unknown-linux-gnueabihf", &[1, 2, 3]),
        ("aarch64-unknown-linux-gnu", &[1, 2, 3]),
        ("riscv64gc-unknown-linux-gnu", &[1, 2, 3]),
        ("s390x-unknown-linux-gnu", &[1, 2, 3]),
        ("powerpc-unknown-linux-gnu", &[1, 2, 3]),
        ("powerpc64le-unknown-linux-gnu", &[1, 2]),
        ("x86_64-unknown-linux-musl", &[1, 2]),
        ("aarch64-unknown-linux-musl", &[1, 2]),
        ("mipsel-unknown-linux-gnu", &[1, 2]),
        ("armv5te-unknown-linux-gnueabi", &[1, 2]),
    ];
    let rows = rows();
    assert_eq!(rows.len(), ALL.len());
    for (triple, rungs) in ALL {
        let row = rows.iter().find(|row| text(row, "triple") == *triple);
        let row = row.unwrap_or_else(|| panic!("no row of {triple}"));
        let has = row["rungs"].as_array().unwrap().iter();
        let has: Vec<_> = has.filter_map(toml::Value::as_integer).collect();
        assert_eq!(has, *rungs, "{triple}");
    }
}

/// Rungs that no other table knows, with their places: a row of the ladder that gets lost is missed.
const LADDER: &[(&str, &str, &[&str])] = &[
    ("run", "setup", &["few"]),
    ("all", "setup", &["all"]),
    ("full", "setup", &["full"]),
    ("quick+", "style", &["format"]),
    ("all+", "style", &["shell", "pictures"]),
    ("quick", "docs", &["host"]),
    ("all+", "docs", &["host"]),
    ("all+", "docs", &["docs.rs"]),
    ("quick+", "model", &["host"]),
    ("quick+", "unit", &["x86_64-unknown-linux-gnu"]),
    ("quick+", "integration", &["x86_64-unknown-linux-gnu"]),
    ("quick", "planted", &["smoke"]),
    ("all+", "check", &["core"]),
    ("full", "check", &["std"]),
    (
        "all+",
        "integration",
        &[
            "x86_64-unknown-linux-gnu libc",
            "s390x-unknown-linux-gnu own",
        ],
    ),
    (
        "full",
        "integration",
        &[
            "powerpc-unknown-linux-gnu own",
            "powerpc64le-unknown-linux-gnu own",
        ],
    ),
    ("all+", "msrv", &["host"]),
    ("all+", "consumers", &["host"]),
    ("all+", "deny", &["host"]),
    ("all+", "typos", &["host"]),
    ("all+", "api", &["host"]),
    ("all+", "miri", &["host"]),
    ("all+", "loom", &["host"]),
    ("all+", "tsan", &["host"]),
    (
        "all+",
        "random",
        &["x86_64-unknown-linux-gnu", "i686-unknown-linux-gnu"],
    ),
    (
        "run+",
        "integration",
        &[
            "armv7-unknown-linux-gnueabihf",
            "aarch64-unknown-linux-gnu",
            "riscv64gc-unknown-linux-gnu",
        ],
    ),
    ("all+", "killed", &["host"]),
    ("all+", "pagesize", &["aarch64-unknown-linux-gnu"]),
    ("run", "kernels", &["armv7 ext4 few"]),
    ("run", "powercut", &["armv7 ext4"]),
    ("all", "powercut", &["default machines"]),
    ("full", "powercut", &["all machines"]),
    ("all+", "bench", &["host", "durable"]),
    ("all+", "size", &["all targets"]),
    ("all+", "program", &["host"]),
    ("all", "planted", &["rig"]),
    (
        "full",
        "walk",
        &[
            "x86_64-unknown-linux-gnu",
            "i686-unknown-linux-gnu",
            "aarch64 ext4",
            "aarch64-64k ext4",
        ],
    ),
    ("full", "planted", &["host"]),
];

/// `tests/ladder.txt` has a row for all that the tables of targets and machines ask for.
#[test]
fn the_ladder_has_every_row() {
    let ladder = read("tests/ladder.txt");
    let lines = ladder.lines().filter(|line| !line.starts_with('#'));
    let rows_of_ladder: Vec<(&str, &str, String)> = lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let [tiers, rung, least] = [(); 3].map(|()| words.next().expect("four columns"));
            assert!(least.parse::<u32>().is_ok_and(|least| least > 0), "{line}");
            (tiers, rung, words.collect::<Vec<_>>().join(" "))
        })
        .collect();
    let has = |tiers: &[&str], rung: &str, place: &str| {
        let row =
            |row: &&(&str, &str, String)| row.1 == rung && row.2 == place && tiers.contains(&row.0);
        let found = rows_of_ladder.iter().find(row);
        assert!(found.is_some(), "no row {tiers:?} {rung} {place}");
    };
    for (tiers, rung, places) in LADDER {
        for place in *places {
            has(&[tiers], rung, place);
        }
    }
    for row in rows() {
        let triple = text(&row, "triple");
        let all: &[&str] = match row["default"].as_bool() {
            Some(true) => &["quick+", "run+", "all+"],
            _ => &["full"],
        };
        if text(&row, "std") == "rustup" {
            has(all, "style", &format!("clippy {triple}"));
        }
        for rung in row["rungs"].as_array().unwrap() {
            let rung = match rung.as_integer() {
                Some(1) => "unit",
                Some(2) => "integration",
                Some(3) => {
                    has(all, "new", triple);
                    "freestanding"
                }
                other => panic!("{triple}: rung {other:?}"),
            };
            has(all, rung, triple);
        }
    }
    let machines: toml::Table = read("qemu/machines.toml").parse().unwrap();
    for machine in machines["machine"].as_array().unwrap() {
        let name = text(machine, "name");
        let filesystems = machine["filesystems"].as_array().unwrap().iter();
        let mut filesystems: Vec<&str> = filesystems.map(|name| name.as_str().unwrap()).collect();
        // The journal modes are about power cuts, and vfat has no long files.
        filesystems.retain(|name| !name.starts_with("ext4-") && *name != "vfat");
        if filesystems.is_empty() {
            filesystems.push("none");
        }
        for filesystem in filesystems {
            let is_default = machine["default"].as_bool() == Some(true) && filesystem == "ext4";
            let tiers: &[&str] = if is_default { &["all+"] } else { &["full"] };
            has(tiers, "kernels", &format!("{name} {filesystem}"));
        }
    }
}

/// The jobs of the workflow are the rungs of `tests/run all`.
#[test]
fn the_workflow_has_every_rung() {
    let ladder = read("tests/ladder.txt");
    let lines = ladder.lines().filter(|line| !line.starts_with('#'));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    // targets/setup is a step of its own.
    let of_all = words.filter(|words| words[0].ends_with('+') || words[0] == "all");
    let rungs = of_all.map(|words| words[1]).filter(|rung| *rung != "setup");
    let workflow = read(".github/workflows/ci.yml");
    let jobs = workflow
        .lines()
        .filter_map(|line| line.strip_prefix("          - "));
    let jobs: Vec<_> = jobs.flat_map(|line| line.split(' ')).collect();
    let mut found = 0;
    for rung in rungs {
        found += 1;
        assert!(
            jobs.contains(&rung),
            ".github/workflows/ci.yml has no {rung}"
        );
    }
    assert!(found > 40, "{found}");
}

/// Where rustix makes no system calls itself, said to cargo and twice to the compiler.
#[test]
fn one_rule_says_where_libc_is_called() {
    let condition = |text: &str, from: &str| -> String {
        let (_, rest) = text.split_once(from).expect("a condition");
        let (mut depth, mut end) = (0, 0);
        for (at, c) in rest.char_indices() {
            depth += i32::from(c == '(') - i32::from(c == ')');
            if c == ')' && depth == 0 {
                end = at + 1;
                break;
            }
        }
        let words = rest[..end].split_whitespace().collect::<String>();
        words.replace(",)", ")")
    };
    let source = read("core/src/sys/bare.rs");
    let own = condition(&source, "#[cfg_attr(\n    all");
    assert!(own.contains("s390x") && own.contains("miri"), "{own}");
    assert_eq!(own, condition(&source, "#[cfg_attr(\n    not(all"));
    assert_eq!(own, condition(&read("core/Cargo.toml"), "'cfg(not(all"));
}

#[test]
fn cargo_links_and_runs_every_row() {
    let config: toml::Table = read(".cargo/config.toml").parse().unwrap();
    for row in rows() {
        let triple = text(&row, "triple");
        let settings = config["target"].get(triple);
        let setting = |key: &str| settings.and_then(|settings| settings.get(key));
        let linker = setting("linker").and_then(toml::Value::as_str);
        assert_eq!(linker.unwrap_or(""), text(&row, "linker"), "{triple}");
        let runner = setting("runner").and_then(toml::Value::as_array);
        let runner = runner.map(|words| words.iter().filter_map(toml::Value::as_str).collect());
        let want = (!text(&row, "qemu").is_empty()).then(|| vec!["qemu/run", triple]);
        assert_eq!(runner, want, "{triple}");
    }
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

/// The scripts' small reader sees what a TOML parser sees.
#[test]
fn the_scripts_read_the_same_table() {
    if is_slow() {
        const NAME: &str = "matrix::the_scripts_read_the_same_table";
        return skip(NAME, "the same script reads the same file on the host");
    }
    for row in rows() {
        for (key, value) in row.as_table().unwrap() {
            let output = Command::new(root().join("targets/get"))
                .args([text(&row, "triple"), key])
                .output()
                .unwrap();
            let words = String::from_utf8(output.stdout).unwrap();
            let want = match value {
                toml::Value::Array(list) => list
                    .iter()
                    .map(|item| {
                        item.as_str()
                            .map_or_else(|| item.to_string(), str::to_owned)
                    })
                    .collect::<Vec<_>>()
                    .join(" "),
                toml::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(words.trim_end(), want, "{key}");
        }
    }
}

/// Each row of the list of allowed skips is about a test that there is.
#[test]
fn allowed_skips_name_tests() {
    let list: toml::Table = read("tests/skips.toml").parse().unwrap();
    for row in list["skip"].as_array().unwrap() {
        let name = text(row, "test");
        // Each is known, also those that no machine has met.
        for condition in row["when"].as_array().unwrap() {
            rawmap_tests::holds(condition.as_str().unwrap());
        }
        let (module, test) = name.rsplit_once("::").unwrap();
        let module = &*module.replace("::", "/");
        let source = match module {
            "freestanding" => {
                let scripts = ["run", "behave", "src/bin/checks.rs"];
                scripts
                    .map(|name| read(&format!("targets/freestanding/{name}")))
                    .concat()
            }
            "pagesize" => read("tests/run"),
            "killed" => read("tests/killed"),
            "bench" => read("tests/benches/durable.rs"),
            "walk" => read("tests/walk/main.rs"),
            _ => {
                let death = format!("tests/death/{module}.rs");
                let source = if root().join(&death).exists() {
                    read(&death)
                } else {
                    read(&format!("tests/integration/{module}.rs"))
                };
                assert!(source.contains(&format!("fn {test}(")), "no test {name}");
                source
            }
        };
        // Named where it skips, whole or by the constant beside it.
        assert!(
            source.contains(&format!("{name}\"")) || source.contains(&format!("skip: {name}:")),
            "{name}"
        );
    }
}
