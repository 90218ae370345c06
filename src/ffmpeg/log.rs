//! ffmpeg's words: the last lines it wrote, and what a user may be told of them.

use std::collections::VecDeque;

/// Lines kept for the report of an exit.
const LINES: usize = 40;
/// Longest line kept, bytes: the longest path, and what is said of it.
const LINE_BYTES: usize = 4400;

/// The last lines of a process's standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogTail {
    lines: VecDeque<String>,
}

impl LogTail {
    pub fn push(&mut self, line: &str) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        let mut end = line.len().min(LINE_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        self.lines.push_back(line[..end].to_owned());
    }

    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// One short sentence part for a user: the first line that ffmpeg marked as an error, without
    /// its tags and without `secrets` (the source's full URL or path). `None` when it marked none.
    pub fn reason(&self, secrets: &[&str]) -> Option<String> {
        let marked = |l: &&str| l.contains("[error]") || l.contains("[fatal]");
        let line = self.lines().find(marked)?;
        let mut text = line;
        while let Some(rest) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
            text = rest.1.trim_start();
        }
        let mut text = text.to_owned();
        for secret in secrets.iter().filter(|s| !s.is_empty()) {
            text = text.replace(secret, "the source");
            // A name with control characters is written otherwise; its folder still tells it.
            let folder = secret.rfind('/').map_or("", |end| &secret[..end]);
            if !folder.is_empty()
                && let Some((before, after)) = text.split_once(folder)
            {
                let (_, why) = after.rsplit_once(": ")?;
                text = format!("{before}the source: {why}");
            }
        }
        if text.starts_with("Format not on whitelist") {
            // It goes on with all formats there are.
            text = "playlists and files of its kind are not played".to_owned();
        }
        // Redirects and playlists lead to further URLs, which may hold tokens.
        let words = text.split(' ').map(|word| match word.contains("://") {
            true if word.ends_with(':') => "the source:",
            true => "the source",
            false => word,
        });
        let text = words.collect::<Vec<_>>().join(" ");
        let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
        (!text.trim().is_empty()).then(|| text.trim().to_owned())
    }
}

/// Splits what a process says into lines. ffmpeg ends messages with a line feed, statistics with a
/// carriage return.
#[derive(Debug, Default)]
pub(super) struct LineSplitter {
    begun: Vec<u8>,
    whole: VecDeque<String>,
}

/// Longest line passed on, bytes; the rest of it is dropped.
const MAX_LINE_BYTES: usize = 8192;

impl LineSplitter {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut parts = bytes.split(|b| matches!(b, b'\n' | b'\r')).peekable();
        while let Some(part) = parts.next() {
            let room = MAX_LINE_BYTES - self.begun.len();
            self.begun.extend_from_slice(&part[..part.len().min(room)]);
            if parts.peek().is_some() {
                self.end();
            }
        }
    }

    /// The line that was begun has ended.
    pub(super) fn end(&mut self) {
        let line = String::from_utf8_lossy(&self.begun).trim().to_owned();
        self.begun.clear();
        if !line.is_empty() {
            self.whole.push_back(line);
        }
    }

    /// The next whole line that is not empty, without blanks around it.
    pub(super) fn next(&mut self) -> Option<String> {
        self.whole.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_either_mark_and_have_a_longest() {
        let mut lines = LineSplitter::default();
        lines.push(b"one\r\n two \rthr");
        lines.push(b"ee\n\n");
        for _ in 0..100 {
            lines.push(&[b'x'; 1000]);
        }
        lines.push(b"\nlast");
        lines.end();
        let all: Vec<String> = std::iter::from_fn(|| lines.next()).collect();
        assert_eq!(all[..3], ["one", "two", "three"]);
        assert_eq!(all[3], "x".repeat(MAX_LINE_BYTES));
        assert_eq!(all[4..], ["last"]);
    }

    #[test]
    fn a_reason_is_free_of_tags_and_paths() {
        let mut log = LogTail::default();
        log.push("[info] Input #0");
        log.push("[mov,mp4 @ 0x55] [error] moov atom not found");
        log.push("[error] file:/srv/films/a.mp4: Invalid data found when processing input");
        assert_eq!(log.reason(&[]).as_deref(), Some("moov atom not found"));
        let mut log = LogTail::default();
        log.push("[error] file:/srv/films/a.mp4: Invalid data found when processing input");
        let reason = log.reason(&["file:/srv/films/a.mp4"]);
        assert_eq!(
            reason.as_deref(),
            Some("the source: Invalid data found when processing input")
        );
        let odd = ["file:/srv/films/new\nline.mp4", "/srv/films/new\nline.mp4"];
        let mut log = LogTail::default();
        log.push("[error] file:/srv/films/new?line.mp4: Invalid data found");
        assert_eq!(
            log.reason(&odd).as_deref(),
            Some("the source: Invalid data found")
        );
        let mut log = LogTail::default();
        log.push("[error] file:/srv/films/new");
        assert_eq!(log.reason(&odd), None);
        assert_eq!(LogTail::default().reason(&[]), None);
        let mut log = LogTail::default();
        log.push("[hls @ 0x1] [error] Format not on whitelist 'mov,mp4'");
        let reason = log.reason(&[]);
        assert_eq!(
            reason.as_deref(),
            Some("playlists and files of its kind are not played")
        );
        let mut log = LogTail::default();
        log.push("[https @ 0x1] [error] Failed to open https://cdn.example/a.ts?token=1: refused");
        let reason = log.reason(&[]);
        assert_eq!(
            reason.as_deref(),
            Some("Failed to open the source: refused")
        );
    }

    #[test]
    fn long_logs_stay_small() {
        let mut log = LogTail::default();
        for _ in 0..1000 {
            log.push(&"é".repeat(10_000));
        }
        assert_eq!(log.lines().count(), LINES);
        assert!(log.lines().all(|l| l.len() <= LINE_BYTES));
    }
}
