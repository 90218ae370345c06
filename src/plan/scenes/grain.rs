//! Tables of film grain: noise that decoders put back, parted like the film.
//!
//! The format is that of libaom's `grain_table.c`: the line `filmgrn1`, then for each stretch of the film
//! `E START END APPLY SEED UPDATE`, times in ten-millionths of a second; when UPDATE is 1, lines with the
//! parameters follow (`p`, `sY`, `sCb`, `sCr`, `cY`, `cCb`, `cCr`).

use std::fmt::Write as _;

use crate::base::FrameRate;

use super::detect::SceneSpan;

/// The option of `aomenc` that names a table.
pub const GRAIN_OPTION: &str = "film-grain-table";
/// Name of a scene's table in the folder in which it is encoded.
pub const GRAIN_FILE: &str = "grain.table";
/// Largest table that is read, bytes: more than a film with a stretch for each picture has.
pub const MOST_GRAIN_BYTES: u64 = 16 << 20;

const HEAD: &str = "filmgrn1";
const TICKS_PER_SECOND: i128 = 10_000_000;

/// A file is no table of film grain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrainError {
    #[error("it does not begin with {HEAD}")]
    NoTable,
    #[error("line {0} is not understood")]
    Line(usize),
}

/// The table of a whole film.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrainTable {
    stretches: Vec<Stretch>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stretch {
    start: i64,
    end: i64,
    apply: u8,
    seed: i32,
    /// Lines with the parameters; those of an earlier stretch, where it has none of its own.
    parameters: String,
}

impl GrainTable {
    /// # Errors
    /// It is no such table.
    pub fn parse(text: &str) -> Result<Self, GrainError> {
        let mut lines = text.lines().enumerate();
        if lines.next().is_none_or(|(_, head)| head.trim() != HEAD) {
            return Err(GrainError::NoTable);
        }
        let mut stretches: Vec<Stretch> = Vec::new();
        for (nth, line) in lines {
            let bad = || GrainError::Line(nth + 1);
            let mut words = line.split_whitespace();
            match words.next() {
                None => {}
                Some("E") => {
                    let numbers: Result<Vec<i64>, _> = words.map(str::parse).collect();
                    let numbers = numbers.map_err(|_| bad())?;
                    let [start, end, apply, seed, update] = numbers[..] else {
                        return Err(bad());
                    };
                    let before = stretches.last().map(|s| s.parameters.clone());
                    let parameters = match update {
                        0 => before.unwrap_or_default(),
                        _ => String::new(),
                    };
                    stretches.push(Stretch {
                        start,
                        end,
                        apply: u8::from(apply != 0),
                        seed: i32::try_from(seed).map_err(|_| bad())?,
                        parameters,
                    });
                }
                Some("p" | "sY" | "sCb" | "sCr" | "cY" | "cCb" | "cCr") => {
                    if words.any(|w| w.parse::<i32>().is_err()) {
                        return Err(bad());
                    }
                    let stretch = stretches.last_mut().ok_or_else(bad)?;
                    let _ = writeln!(stretch.parameters, "\t{}", line.trim());
                }
                Some(_) => return Err(bad()),
            }
        }
        Ok(GrainTable { stretches })
    }

    /// The table of one scene: its times count from the scene's first picture, at the constant rate at
    /// which encoders are given pictures.
    pub fn of_scene(&self, span: SceneSpan, rate: FrameRate) -> String {
        let ticks = |frame: u64| {
            let ticks = i128::from(frame) * TICKS_PER_SECOND * i128::from(rate.den());
            i64::try_from(ticks / i128::from(rate.num())).unwrap_or(i64::MAX)
        };
        let (first, behind) = (ticks(span.start), ticks(span.end()));
        let mut out = format!("{HEAD}\n");
        for stretch in &self.stretches {
            if stretch.end <= first || stretch.start >= behind {
                continue;
            }
            let (start, end) = (stretch.start.saturating_sub(first).max(0), stretch.end);
            // The end of the last stretch is often the end of time.
            let end = match end {
                i64::MAX => end,
                end => end.saturating_sub(first),
            };
            let Stretch {
                apply,
                seed,
                parameters,
                ..
            } = stretch;
            let update = u8::from(!parameters.is_empty());
            let _ = writeln!(out, "E {start} {end} {apply} {seed} {update}");
            out.push_str(parameters);
        }
        out
    }
}

/// Parameters without the option that names a table, and the name.
pub fn take_grain_option(params: &str) -> (String, Option<String>) {
    let mut name = None;
    let option = format!("--{GRAIN_OPTION}");
    let mut words = params.split(' ').peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word.strip_prefix(&option) {
            Some("") => name = Some(words.next().unwrap_or_default().to_owned()),
            Some(rest) if rest.starts_with('=') => name = Some(rest[1..].to_owned()),
            _ => kept.push(word),
        }
    }
    (kept.join(" "), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: &str = "\tp 0 6 0 8 0 1 128 192 256 128 192 256\n\tsY 2 0 40 255 40\n\tsCb 0\n\tsCr 0\n\tcY\n\tcCb 0\n\tcCr 0\n";

    fn of(text: &str, start: u64, frames: u32) -> String {
        let table = GrainTable::parse(text).unwrap();
        table.of_scene(SceneSpan { start, frames }, FrameRate::PAL)
    }

    #[test]
    fn a_table_is_parted_by_the_times_of_scenes() {
        let text = format!(
            "filmgrn1\nE 0 20000000 1 7391 1\n{PARAMETERS}E 20000000 9223372036854775807 1 22 0\n"
        );
        // The first second.
        let first = of(&text, 0, 25);
        assert_eq!(
            first,
            format!("filmgrn1\nE 0 20000000 1 7391 1\n{PARAMETERS}")
        );
        // From 1 s to 3 s: both stretches; the second says what it took from the first.
        let both = of(&text, 25, 50);
        let wanted = format!(
            "filmgrn1\nE 0 10000000 1 7391 1\n{PARAMETERS}E 10000000 9223372036854775807 1 22 1\n{PARAMETERS}"
        );
        assert_eq!(both, wanted);
        assert_eq!(GrainTable::parse(&both).unwrap().stretches.len(), 2);
        // Where the film has no grain.
        let short = "filmgrn1\nE 0 20000000 0 1 0\n";
        assert_eq!(of(short, 50, 25), "filmgrn1\n");
        assert_eq!(of(short, 25, 25), "filmgrn1\nE 0 10000000 0 1 0\n");
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for (text, error) in [
            ("", GrainError::NoTable),
            ("RIFF", GrainError::NoTable),
            ("filmgrn1\nE 0 1 1\n", GrainError::Line(2)),
            ("filmgrn1\nE 0 1 1 1 x\n", GrainError::Line(2)),
            ("filmgrn1\n\tp 0\n", GrainError::Line(2)),
            (
                "filmgrn1\nE 0 1 1 1 1\n\tp 0 /etc/passwd\n",
                GrainError::Line(3),
            ),
            ("filmgrn1\n\nnoise\n", GrainError::Line(3)),
        ] {
            assert_eq!(GrainTable::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_option_is_taken_out() {
        let (params, name) = take_grain_option("--cpu-used=6 --film-grain-table=a/b.tbl -b 10");
        assert_eq!(
            (params.as_str(), name.as_deref()),
            ("--cpu-used=6 -b 10", Some("a/b.tbl"))
        );
        let (params, name) = take_grain_option("--film-grain-table b.tbl");
        assert_eq!((params.as_str(), name.as_deref()), ("", Some("b.tbl")));
        let plain = "--film-grain-test=1 --cpu-used=6";
        assert_eq!(take_grain_option(plain), (plain.to_owned(), None));
    }
}
