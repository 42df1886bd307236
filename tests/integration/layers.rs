//! Which module of core may use which: the order of the design, read out of the source, which `build.rs` puts in here.

/// Each file of core's `src`, by its path there, and its text.
const SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/core_sources.rs"));

/// From below: each uses what stands before it, and none beside it.
const ORDER: [&[&str]; 11] = [
    &["error"],
    &["page"],
    &["span"],
    &["advice", "protection", "dirty"],
    &["sys"],
    &["fault"],
    &["raw"],
    &["map", "shared", "reserve", "memfd", "locked"],
    &["options", "tracked", "guarded"],
    &["backing"],
    &["device", "record", "adapter"],
];

fn level(module: &str) -> Option<usize> {
    ORDER.iter().position(|level| level.contains(&module))
}

/// The code of a file without its tests, its comments and its texts.
fn code(text: &str) -> String {
    let lines = text
        .lines()
        .take_while(|line| !line.contains("#[cfg(test)]"));
    let lines = lines.map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join("\n");
    code.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// What comes right behind each `crate::`, with lists taken apart.
fn used(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    let starts = code.match_indices("crate::");
    for (at, path) in starts {
        let own = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if !own {
            continue;
        }
        let rest = &code[at + path.len()..];
        let first = |text: &str| {
            let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
            text[..end.unwrap_or(text.len())].to_owned()
        };
        match rest.strip_prefix('{') {
            // One level is enough: what comes after a comma outside of inner braces.
            Some(list) => {
                let mut depth = 1;
                let mut start = 0;
                for (i, c) in list.char_indices() {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    if depth == 0 || depth == 1 && c == ',' {
                        names.push(first(list[start..i].trim()));
                        start = i + 1;
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            None => names.push(first(rest)),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Each use against the order.
fn violations(sources: &[(&str, &str)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in sources {
        let module = path.split(['/', '.']).next().unwrap_or_default();
        if module == "lib" || path.ends_with("tests.rs") {
            continue;
        }
        for name in used(&code(text)) {
            let allowed = match (module, level(module), level(&name)) {
                _ if name == module => true,
                // A macro that is exported: it stands at the root.
                _ if name.starts_with("__") => true,
                ("critical", ..) => name == "sys",
                (_, Some(own), Some(other)) => other < own,
                (_, None, _) => {
                    wrong.push(format!("{path}: the module {module} has no level"));
                    continue;
                }
                // A name of lib.rs.
                (_, _, None) => false,
            };
            if !allowed {
                wrong.push(format!("{path} uses crate::{name}"));
            }
        }
    }
    wrong
}

#[test]
fn core_uses_only_what_stands_below() {
    assert!(SOURCES.len() > 30, "build.rs found {}", SOURCES.len());
    let wrong = violations(SOURCES);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The control: each kind of violation is seen, and comments and tests are not looked at.
#[test]
fn a_violation_is_seen() {
    let seen = |path, text| violations(&[(path, text)]).len();
    assert_eq!(seen("sys/file.rs", "use crate::raw::MmapRaw;"), 1);
    assert_eq!(
        seen(
            "raw.rs",
            "use crate::{sys, map::Mmap, error::{Call, Error}};"
        ),
        1
    );
    assert_eq!(seen("raw/grow.rs", "use crate::Error;"), 1);
    assert_eq!(seen("map.rs", "fn f(x: crate::shared::Word) {}"), 1);
    assert_eq!(seen("critical.rs", "use crate::error::Error;"), 1);
    assert_eq!(seen("elsewhere.rs", "use crate::error::Error;"), 1);
    let fine = "/// [`Tracked`](crate::Tracked)\nuse crate::{error::Error, sys};\n#[cfg(test)]\nuse crate::map::Mmap;";
    assert_eq!(seen("raw.rs", fine), 0);
}
