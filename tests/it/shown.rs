//! Tables that name, for each thing that is promised, the test which shows it.

use std::path::Path;

/// A line of such a table: what is promised, a file below the root of the sources, and a test in it.
pub(crate) struct Shown<'a> {
    pub(crate) what: &'a str,
    file: &'a str,
    test: &'a str,
}

/// The lines of a table of tab-separated values.
pub(crate) fn rows(table: &str) -> Vec<Shown<'_>> {
    let row = |line| {
        let cells: Vec<&str> = str::split(line, '\t').collect();
        let [what, file, test] = cells[..] else {
            panic!("{line}");
        };
        Shown { what, file, test }
    };
    table.lines().map(row).collect()
}

impl Shown<'_> {
    /// Fails unless the named test is there, is a test, and is run.
    pub(crate) fn check(&self) {
        let Shown { what, file, test } = self;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{what}: {file}: {e}"));
        assert!(is_test(&text, test), "{what}: {file} has no test {test}");
    }
}

/// Whether `text` has a function `name` that an attribute makes a test, and none ignores.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let begins = |line: &&str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        let rest = line.strip_prefix("fn ").and_then(|l| l.strip_prefix(name));
        rest.is_some_and(|r| r.starts_with('('))
    };
    let Some(at) = lines.iter().position(begins) else {
        return false;
    };
    let attributes = lines[..at].iter().rev().take_while(|l| l.starts_with("#["));
    let (mut tests, mut runs) = (false, true);
    for attribute in attributes {
        tests |= attribute.starts_with("#[test") || attribute.starts_with("#[tokio::test");
        runs &= !attribute.starts_with("#[ignore");
    }
    tests && runs
}

#[test]
fn a_test_is_told_from_other_functions() {
    let text = "#[test]\nfn one() {}\n#[tokio::test(start_paused = true)]\n  async fn two() {}\n\
                fn three() {}\n#[test]\n#[ignore]\nfn four() {}\n#[test]\nfn oneness() {}";
    for name in ["one", "two", "oneness"] {
        assert!(is_test(text, name), "{name}");
    }
    for name in ["three", "four", "five", "on"] {
        assert!(!is_test(text, name), "{name}");
    }
}
