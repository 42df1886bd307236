//! `tests/ladder.txt` and `tests/skips.toml` against what they are made for: no row is lost, and none is of nothing.

use crate::matrix::{read, root, rows, text};

/// A rung that is dropped from a row is missed.
#[test]
fn each_row_has_its_rungs() {
    const ALL: &[(&str, &[i64])] = &[
        ("x86_64-unknown-linux-gnu", &[1, 2, 3]),
        ("i686-unknown-linux-gnu", &[1, 2]),
        ("armv7-unknown-linux-gnueabihf", &[1, 2, 3]),
        ("thumbv7neon-unknown-linux-gnueabihf", &[1, 2, 3]),
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
    (
        "full",
        "miri",
        &["i686-unknown-linux-gnu", "s390x-unknown-linux-gnu"],
    ),
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
    ("full", "bench", &["state"]),
    ("all+", "size", &["all targets"]),
    ("all+", "program", &["host"]),
    ("all+", "records", &["armv7 ext4"]),
    (
        "full",
        "records",
        &[
            "armv7 f2fs",
            "armv7 vfat",
            "s390x ext4",
            "aarch64-small ubifs",
        ],
    ),
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
    ("full", "fuzz", &["host"]),
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

/// How many random rounds there are follows from what the rung asks for, and is all where nothing is asked.
#[test]
fn rounds_are_what_was_asked_for() {
    let asked = std::env::var("RAWMAP_EFFORT");
    let all = if rawmap_tests::is_slow() { 5 } else { 100 };
    let percent = asked.map_or(all, |text| text.parse().unwrap());
    assert_eq!(rawmap_tests::rounds(1000), 10 * percent);
    assert_eq!(rawmap_tests::few_steps(), percent < 100);
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
            "bench" => read("tests/benches/durable.rs") + &read("tests/peers/src/state.rs"),
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
