//! Counts what test programs say: each announces its tests, and has to end with as many results.

use std::fmt::{self, Display, Formatter};

/// The tests of a log, and what is wrong with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// What programs said they would run. Scripts say only what came of it.
    pub announced: u64,
    pub passed: u64,
    pub failed: u64,
    pub wrong: Vec<String>,
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            announced,
            passed,
            failed,
            ..
        } = self;
        write!(f, "{announced} {passed} {failed}")
    }
}

/// Reads a log of libtest's text, or of a script that ends with a line like libtest's. A line `filters: WORD...` says what the
/// next program was asked for: each word has to be in the name of a test, which a program prints that is not quiet.
pub fn count(log: &str) -> Counts {
    let mut counts = Counts::default();
    let mut open = None;
    let mut filters = Vec::new();
    for line in log.lines() {
        if line == AGAIN {
            // What was tried before came to no end.
            counts = Counts::default();
            open = None;
            filters.clear();
        } else if let Some(words) = line.strip_prefix("filters: ") {
            filters.extend(words.split_whitespace());
        } else if let Some(number) = announced(line) {
            counts.ended(open.replace(number));
            counts.announced += number;
        } else if let Some(result) = Result::parse(line) {
            let Result {
                passed,
                failed,
                ignored,
            } = result;
            counts.passed += passed;
            counts.failed += failed;
            if ignored > 0 {
                counts.wrong.push(format!("{ignored} tests are ignored"));
            }
            let ended = passed + failed + ignored;
            if let Some(number) = open.take().filter(|number| *number != ended) {
                let text = format!("{number} tests were announced, and {ended} have a result");
                counts.wrong.push(text);
            }
            // Of the next program others may be asked.
            counts.unnamed(&mut filters);
        } else if let Some(name) = line.strip_prefix("test ") {
            filters.retain(|filter| !name.contains(filter));
        }
    }
    counts.ended(open);
    counts.unnamed(&mut filters);
    counts
}

/// A line of `tests/run`, which tries once more.
const AGAIN: &str = "once more: what came before does not count";

impl Counts {
    fn unnamed(&mut self, filters: &mut Vec<&str>) {
        for filter in filters.drain(..) {
            self.wrong.push(format!("no test is named {filter}"));
        }
    }

    fn ended(&mut self, open: Option<u64>) {
        if let Some(number) = open {
            let text = format!("{number} tests were announced, and their program said no result");
            self.wrong.push(text);
        }
    }
}

/// `running 3 tests`.
fn announced(line: &str) -> Option<u64> {
    let (number, rest) = line.strip_prefix("running ")?.split_once(' ')?;
    matches!(rest, "test" | "tests").then(|| number.parse().ok())?
}

/// `test result: ok. 3 passed; 0 failed; 0 ignored; ...`: of a script, without those ignored.
#[derive(Default)]
struct Result {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Result {
    fn parse(line: &str) -> Option<Self> {
        // What a test prints may come before it.
        let (_, rest) = line.split_once("test result: ")?;
        let (_, rest) = rest.split_once(". ")?;
        let mut result = Self::default();
        for part in rest.split(';') {
            let Some((number, what)) = part.trim().split_once(' ') else {
                continue;
            };
            match what {
                "passed" => result.passed = number.parse().ok()?,
                "failed" => result.failed = number.parse().ok()?,
                "ignored" => result.ignored = number.parse().ok()?,
                _ => {}
            }
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "test result: ok. 2 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s";

    #[test]
    fn programs_and_scripts_are_counted() {
        let log =
            format!("\nrunning 3 tests\n..F\n{END}\nok: it\ntest result: ok. 4 passed; 0 failed\n");
        let counts = count(&log);
        assert_eq!((counts.announced, counts.passed, counts.failed), (3, 6, 1));
        assert_eq!(counts.wrong, [""; 0]);
    }

    #[test]
    fn a_program_that_ends_in_the_middle_is_wrong() {
        for log in [
            format!("running 141 tests\n....\nrunning 3 tests\n...\n{END}\n"),
            format!("running 3 tests\n...\n{END}\nrunning 1 test\n"),
            format!("running 4 tests\n...\n{END}\n"),
            "running 1 test\ntest result: ok. 0 passed; 0 failed; 1 ignored; 0 measured\n".into(),
        ] {
            assert_eq!(count(&log).wrong.len(), 1, "{log}");
        }
    }

    #[test]
    fn each_filter_has_a_test() {
        let log = format!(
            "filters: page:: advice::\nrunning 3 tests\ntest page::tests::it ... ok\n{END}\n"
        );
        assert_eq!(count(&log).wrong, ["no test is named advice::"]);
    }
}
