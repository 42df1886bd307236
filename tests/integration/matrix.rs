//! `targets/targets.toml` against everything that must agree with it.

use std::path::Path;
use std::process::Command;

use rawmap_tests::{TARGET, is_slow, skip};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn rows() -> Vec<toml::Value> {
    let table: toml::Table = read("targets/targets.toml").parse().unwrap();
    table["target"].as_array().unwrap().clone()
}

pub(crate) fn text<'a>(row: &'a toml::Value, key: &str) -> &'a str {
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
    // And the ladder has built what it says.
    if let Ok(asked) = std::env::var("RAWMAP_BACKEND") {
        let built = match (cfg!(rustix_use_libc), cfg!(rustix_use_experimental_asm)) {
            (true, _) => "libc",
            (_, true) => "own",
            _ => "",
        };
        assert_eq!(built, asked);
    }
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
