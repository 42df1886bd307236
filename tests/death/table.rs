//! The table of events in the README of `rawmap`: each cell names the tests that show it.

use std::collections::BTreeSet;

use rawmap_tests::command;

fn listed() -> BTreeSet<String> {
    let program = std::env::current_exe().unwrap();
    let output = command(program.to_str().unwrap())
        .arg("--list")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    names.map(str::to_owned).collect()
}

#[test]
fn every_cell_of_the_table_names_tests_that_are_there() {
    let text = include_str!("../../std/README.md");
    let start = text.find("| event |").expect("the README has the table");
    let rows = text[start..]
        .lines()
        .take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<&str>> = rows
        .map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let tests = listed();
    assert!(tests.contains("table::every_cell_of_the_table_names_tests_that_are_there"));
    // The head, the line below it, and the six events.
    assert_eq!(rows.len(), 8);
    for row in &rows[2..] {
        assert_eq!(row.len(), rows[0].len(), "{row:?}");
        for cell in &row[1..] {
            let words = cell.split('`').skip(1).step_by(2);
            let named: Vec<&str> = words.filter(|word| word.contains("::")).collect();
            assert!(!named.is_empty(), "{}: {cell}: no test", row[0]);
            for name in named {
                assert!(tests.contains(name), "{}: no test {name}", row[0]);
            }
        }
    }
}
