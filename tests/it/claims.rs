//! Every claim of the document about reliability, and every kind of bad input, has its test.

use crate::shown::rows;

/// For each claim a file below the root of the sources and a test in it.
const CLAIMS: &str = include_str!("claims.tsv");

#[test]
fn every_claim_has_a_test() {
    let rows = rows(CLAIMS);
    assert!(!rows.is_empty());
    rows.iter().for_each(|row| row.check());
}
