//! The layers of `src/ARCHITECTURE.md` hold: no module uses one above it, the middle is pure, and each
//! foreign crate stays in its home.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// One folder or file of `src`.
struct Module {
    name: &'static str,
    layer: u8,
    /// Modules of the same layer it may use; all lower layers are allowed.
    beside: &'static [&'static str],
    /// Whether it decides only: no runtime, no clock, no files, no sockets, no processes.
    pure: bool,
}

const fn pure(name: &'static str, layer: u8, beside: &'static [&'static str]) -> Module {
    Module {
        name,
        layer,
        beside,
        pure: true,
    }
}

const fn rim(name: &'static str, layer: u8, beside: &'static [&'static str]) -> Module {
    Module {
        name,
        layer,
        beside,
        pure: false,
    }
}

/// Bottom to top.
const MODULES: &[Module] = &[
    pure("base", 0, &[]),
    rim("telemetry", 0, &[]),
    pure("media", 1, &[]),
    pure("hardware", 1, &[]),
    pure("hls", 2, &[]),
    pure("plan", 2, &["hls", "job"]),
    pure("package", 2, &["hls"]),
    pure("job", 2, &[]),
    rim("artifact", 3, &[]),
    rim("store", 3, &[]),
    rim("source", 3, &[]),
    rim("ffmpeg", 3, &["source"]),
    rim("discovery", 4, &[]),
    rim("dispatch", 4, &[]),
    rim("scratch", 3, &[]),
    rim("session", 4, &[]),
    rim("batch", 4, &["session", "dispatch"]),
    rim("queries", 4, &["session"]),
    rim("videos", 4, &["session", "dispatch", "queries"]),
    rim("scenes", 4, &["session", "dispatch"]),
    rim("engine", 4, &["dispatch", "session"]),
    rim("web_ui", 5, &[]),
    rim("http", 5, &["web_ui"]),
    rim("config", 6, &[]),
    rim("app", 6, &["config"]),
    rim("cli", 6, &["config", "app"]),
    rim("main", 6, &[]),
];

/// What a pure module must not name.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio_util",
    "hyper",
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Crates that only these modules name, so that replacing one stays a local change.
const HOMES: &[(&str, &[&str])] = &[
    ("anyhow", &["cli"]),
    ("axum", &["http", "web_ui"]),
    ("governor", &["http"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("utoipa", &["http"]),
    ("ffmpeg_sidecar", &["ffmpeg"]),
    ("mdns_sd", &["discovery"]),
    ("rust_embed", &["web_ui"]),
    ("socketioxide", &["http"]),
    ("serde_yaml", &["config"]),
    ("socket2", &["discovery"]),
    ("tokio_tungstenite", &["http"]),
    ("object_store", &["artifact"]),
    ("sqlx", &["store"]),
    ("mdns_sd", &["discovery"]),
    ("socket2", &["discovery"]),
    ("tokio_tungstenite", &["http"]),
    ("tracing_subscriber", &["telemetry"]),
    ("prometheus_client", &["http", "telemetry"]),
    ("sd_notify", &["cli"]),
    ("listenfd", &["cli"]),
];

/// Files that may be longer than `MOST_LINES`, each with the reason.
const LONG: &[(&str, &str)] = &[];
const MOST_LINES: usize = 700;

#[test]
fn every_module_uses_only_what_is_below_it() {
    let mut faults = String::new();
    for file in sources() {
        let Some(module) = find(&file.module) else {
            let _ = writeln!(
                faults,
                "{}: the table of modules does not know it",
                file.path.display()
            );
            continue;
        };
        for used in file
            .paths
            .iter()
            .filter_map(|path| path.strip_prefix("crate::"))
        {
            let name = used.split("::").next().unwrap_or(used);
            let Some(other) = find(name) else { continue };
            let below = other.layer < module.layer;
            if name != module.name && !below && !module.beside.contains(&name) {
                let (a, b) = (module.layer, other.layer);
                let _ = writeln!(faults, "{}: L{a} uses {name} of L{b}", file.path.display());
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn every_permission_is_used() {
    let sources = sources();
    let mut faults = String::new();
    for module in MODULES {
        for beside in module.beside {
            let path = format!("crate::{beside}");
            let used = |file: &Source| file.paths.iter().any(|p| is_within(p, &path));
            let mut own = sources.iter().filter(|f| f.module == module.name);
            if !own.any(used) {
                let _ = writeln!(faults, "{} may use {beside} and does not", module.name);
            }
        }
    }
    for (name, homes) in HOMES {
        for home in *homes {
            let used = |file: &Source| file.paths.iter().any(|p| is_within(p, name));
            let mut own = sources.iter().filter(|f| f.module == *home);
            if !own.any(used) {
                let _ = writeln!(faults, "{home} may use {name} and does not");
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn the_middle_is_pure() {
    let mut faults = String::new();
    for file in sources()
        .iter()
        .filter(|f| find(&f.module).is_some_and(|m| m.pure))
    {
        for path in &file.paths {
            if IMPURE.iter().any(|impure| is_within(path, impure)) {
                let _ = writeln!(faults, "{}: names {path}", file.path.display());
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn foreign_crates_stay_at_home() {
    let mut faults = String::new();
    for file in sources() {
        for (name, homes) in HOMES {
            let named = file.paths.iter().any(|path| is_within(path, name));
            if named && !homes.contains(&file.module.as_str()) {
                let _ = writeln!(faults, "{}: names {name}", file.path.display());
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn files_are_short_enough_to_be_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = String::new();
    for path in [root.join("src"), root.join("tests")]
        .iter()
        .flat_map(|folder| rust_files(folder))
    {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        let excused = LONG.iter().any(|(file, _)| *file == name);
        if lines > MOST_LINES && !excused {
            let _ = writeln!(faults, "{name}: {lines} lines");
        }
        if lines <= MOST_LINES && excused {
            let _ = writeln!(faults, "{name}: is short again, strike it off the list");
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

struct Source {
    path: PathBuf,
    /// Name of the folder or file below `src`.
    module: String,
    /// Every path the code names from its root, groups taken apart.
    paths: Vec<String>,
}

fn find(name: &str) -> Option<&'static Module> {
    MODULES.iter().find(|m| m.name == name)
}

fn is_within(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// All files below `src` but the list of modules itself and those that hold tests only.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for path in rust_files(&root) {
        let inside = path.strip_prefix(&root).unwrap().with_extension("");
        let parts: Vec<_> = inside.iter().map(|part| part.to_str().unwrap()).collect();
        if parts == ["lib"] || parts.contains(&"tests") {
            continue;
        }
        let code = code_of(&fs::read_to_string(&path).unwrap());
        found.push(Source {
            module: parts[0].into(),
            paths: paths(&code),
            path,
        });
    }
    assert!(!found.is_empty(), "no sources below {}", root.display());
    found
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text without line comments and without its tests, which stand last (clippy sees to that).
fn code_of(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    let lines = before_tests
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every path in the code, with `a::{b, c::d}` as `a::b` and `a::c::d`.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        if is_word(c) && before != ':' {
            let length = path_tree(rest, "", &mut found);
            before = 'x';
            rest = &rest[length..];
        } else {
            before = if c.is_whitespace() { before } else { c };
            rest = &rest[c.len_utf8()..];
        }
    }
    found
}

/// Reads one path or one branch of a group; returns its length.
fn path_tree(text: &str, stem: &str, found: &mut Vec<String>) -> usize {
    let skip = |at: usize| at + (text[at..].len() - text[at..].trim_start().len());
    let mut at = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let path = if stem.is_empty() {
        text[..at].into()
    } else {
        format!("{stem}::{}", &text[..at])
    };
    let next = skip(at);
    let Some(tail) = text[next..].strip_prefix("::") else {
        found.push(path);
        return at;
    };
    at = skip(text.len() - tail.len());
    if text[at..].starts_with(is_word) {
        return at + path_tree(&text[at..], &path, found);
    }
    if !text[at..].starts_with('{') {
        found.push(path);
        return at;
    }
    at += 1;
    loop {
        at = skip(at);
        match text[at..].chars().next() {
            Some(c) if is_word(c) => at += path_tree(&text[at..], &path, found),
            Some('}') => return at + 1,
            Some(c) => at += c.len_utf8(),
            None => return at,
        }
    }
}

#[test]
fn the_reader_of_sources_sees_what_is_code() {
    let text = "//! Uses [`crate::http`].\n\
        use crate::{base::Bitrate, media::{self, SourceProbe}}; // crate::http\n\
        use std :: {\n    collections::BTreeMap,\n    fs,\n};\n\
        pub fn f() { g(crate::hls::h::<u8>(mine::crate_x)); super::std_like(); }\n\
        #[cfg(test)]\nmod tests { use tokio::fs; fn h() { crate::http::x() } }\n";
    let found = paths(&code_of(text));
    for path in [
        "crate::base::Bitrate",
        "crate::media::self",
        "crate::media::SourceProbe",
        "std::fs",
    ] {
        assert!(
            found.iter().any(|p| p == path),
            "{path} is not in {found:?}"
        );
    }
    assert!(found.iter().any(|p| p == "crate::hls::h"), "{found:?}");
    assert!(found.iter().any(|p| p == "super::std_like"), "{found:?}");
    for hidden in ["crate::http", "tokio"] {
        assert!(
            !found.iter().any(|p| is_within(p, hidden)),
            "{hidden} is in {found:?}"
        );
    }
    assert!(is_within("std::fs::File", "std::fs") && !is_within("std::fs_like", "std::fs"));
}
