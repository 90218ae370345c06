use std::collections::HashMap;
use std::path::Path;

use super::*;
use crate::source::{DirEntry, SourceErrorKind};

fn policy(roots: &[&Path]) -> SourcePolicy {
    let roots = roots.iter().map(|r| r.to_path_buf()).collect();
    SourcePolicy::new(SourceSettings {
        roots,
        ..SourceSettings::default()
    })
    .unwrap()
}

async fn shown(p: &SourcePolicy, text: &str) -> String {
    match p.resolve(text).await {
        Ok(l) => format!("ok {l}"),
        Err(e) => format!("{:?} {e}", e.kind()),
    }
}

#[tokio::test]
async fn other_schemes_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for p in [policy(&[]), policy(&[dir.path()])] {
        for (text, scheme) in [
            ("gopher://h/1", "gopher"),
            ("concat:/etc/passwd|/etc/hosts", "concat"),
            ("pipe:0", "pipe"),
            ("DATA:text/plain,x", "data"),
            ("crypto+file:///etc/passwd", "crypto+file"),
            ("subfile,,start,0,end,9,,:/etc/passwd", "subfile"),
            ("hls+http://h/x", "hls+http"),
            ("lavfi://x", "lavfi"),
        ] {
            assert_eq!(
                p.resolve(text).await,
                Err(SourceError::UnsupportedScheme(scheme.to_owned())),
                "{text}"
            );
        }
    }
    let e = SourceError::UnsupportedScheme("gopher".into()).to_string();
    assert!(
        e.starts_with("scheme 'gopher' is not served; use http, https, rtmp"),
        "{e}"
    );
}

#[tokio::test]
async fn bad_texts_are_refused() {
    let p = policy(&[]);
    assert_eq!(p.resolve("  ").await, Err(SourceError::Empty));
    assert_eq!(p.resolve("http://h/\0").await, Err(SourceError::Nul));
    assert_eq!(p.resolve("/etc/passwd").await, Err(SourceError::NoRoots));
    assert_eq!(
        p.resolve("file://server/share/a.mkv").await,
        Err(SourceError::FileUrlWithHost)
    );
    assert_eq!(p.resolve("file:///a%00b").await, Err(SourceError::Nul));
    let long = format!("http://127.0.0.1/{}", "a".repeat(5000));
    assert!(matches!(
        p.resolve(&long).await,
        Err(SourceError::TooLong { .. })
    ));
    for bad in [
        "http://",
        "http://[::1",
        "http://a b/",
        "rtmp:///x",
        "http://h:99999/",
    ] {
        let e = p.resolve(bad).await.unwrap_err();
        assert!(matches!(e, SourceError::BadUrl(_)), "{bad}: {e:?}");
    }
}

#[tokio::test]
async fn hostile_names_are_only_names() {
    let dir = tempfile::tempdir().unwrap();
    let names = [
        "-i.mp4",
        "a b  c.mp4",
        " leading and trailing .mp4 ",
        "percent-%03d.mp4",
        "q'u\"o`te.mp4",
        "x;&$(id)|y.mp4",
        "пример 例え.mp4",
        "pipe:0",
        "concat:a|b.mp4",
        "new\nline.mp4",
        "back\\slash?#.mp4",
        "*.mp4",
        "%2e%2e",
    ];
    let p = policy(&[dir.path()]);
    for name in names {
        std::fs::write(dir.path().join(name), b"x").unwrap();
        assert_eq!(shown(&p, name).await, format!("ok {name}"));
        let absolute = dir.path().join(name);
        assert_eq!(
            shown(&p, absolute.to_str().unwrap()).await,
            format!("ok {name}")
        );
        let url = Url::from_file_path(&absolute).unwrap();
        // The URL parser writes `%` as it is; in a file URL it has to be `%25`.
        let url = if name.contains('%') {
            format!("file://{}", absolute.to_str().unwrap().replace('%', "%25"))
        } else {
            url.into()
        };
        assert_eq!(shown(&p, &url).await, format!("ok {name}"), "{url}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn outside_and_missing_look_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("link.mp4")).unwrap();
    std::os::unix::fs::symlink("/", dir.path().join("top")).unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let p = policy(&[&dir.path().join("sub").join("..")]);
    let mut seen = std::collections::HashSet::new();
    for text in [
        "missing.mp4",
        "/missing",
        "/etc/passwd",
        "/etc",
        "link.mp4",
        "top/etc/passwd",
        "../../../../../../etc/passwd",
        "sub/../../x",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "file:///etc/%70asswd",
        outside.path().to_str().unwrap(),
    ] {
        seen.insert(shown(&p, text).await);
    }
    assert_eq!(
        seen,
        std::collections::HashSet::from(["NotFound no such file under sources.roots".to_owned()])
    );
}

#[cfg(unix)]
#[tokio::test]
async fn only_regular_files() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo.mp4");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::create_dir(dir.path().join("folder.mp4")).unwrap();
    let p = policy(&[dir.path()]);
    assert_eq!(p.resolve("fifo.mp4").await, Err(SourceError::NotAFile));
    assert_eq!(p.resolve("folder.mp4").await, Err(SourceError::NotAFile));
    assert_eq!(
        p.resolve(dir.path().to_str().unwrap()).await,
        Err(SourceError::NotAFile)
    );
    let p = policy(&[Path::new("/dev")]);
    assert_eq!(p.resolve("/dev/zero").await, Err(SourceError::NotAFile));
}

#[tokio::test]
async fn roots_are_searched_in_order_and_named_in_listings() {
    let top = tempfile::tempdir().unwrap();
    let make = |rel: &str| {
        let path = top.path().join(rel);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, rel).unwrap();
    };
    for rel in [
        "one/films/a.mkv",
        "one/films/both.mkv",
        "two/films/both.mkv",
        "two/films/d/z.MP4",
    ] {
        make(rel);
    }
    make("two/films/.hidden.mp4");
    make("two/films/notes.txt");
    let (one, two) = (top.path().join("one/films"), top.path().join("two/films"));
    let p = policy(&[&one, &two, &one]);
    let listed = |entries: Vec<DirEntry>| {
        entries
            .into_iter()
            .map(|e| (e.path, e.is_dir, e.size_bytes))
            .collect::<Vec<_>>()
    };
    let roots = [
        ("films".to_owned(), true, 0),
        ("films-2".to_owned(), true, 0),
    ];
    assert_eq!(listed(p.list("").await.unwrap()), roots);
    assert_eq!(
        listed(p.list("films-2/").await.unwrap()),
        [
            ("films-2/d".to_owned(), true, 0),
            ("films-2/both.mkv".to_owned(), false, 18)
        ]
    );
    let path = |l: SourceLocator| l.path().unwrap().to_owned();
    let one = one.canonicalize().unwrap();
    let two = two.canonicalize().unwrap();
    for (text, expected) in [
        ("both.mkv", one.join("both.mkv")),
        ("films/both.mkv", one.join("both.mkv")),
        ("./films-2/both.mkv", two.join("both.mkv")),
        ("d/z.MP4", two.join("d/z.MP4")),
        ("films-2/d/z.MP4", two.join("d/z.MP4")),
    ] {
        assert_eq!(path(p.resolve(text).await.unwrap()), expected, "{text}");
    }
    let single = policy(&[&two]);
    assert_eq!(
        listed(single.list("d").await.unwrap()),
        [("d/z.MP4".to_owned(), false, 17)]
    );
    assert_eq!(single.list("both.mkv").await, Err(SourceError::NotAFolder));
    for outside in ["..", "/etc", "../films", "nope"] {
        assert_eq!(
            single.list(outside).await,
            Err(SourceError::NoSuchFile),
            "{outside}"
        );
    }
}

#[tokio::test]
async fn listings_are_bounded_and_stay_inside() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..1100 {
        std::fs::write(dir.path().join(format!("{i:04}.mp4")), b"").unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink("/", dir.path().join("0-link")).unwrap();
    let entries = policy(&[dir.path()]).list("").await.unwrap();
    assert_eq!(entries.len(), 1000);
    assert_eq!(entries[0].name, "0000.mp4");
}

fn with_hosts(allow: &[&str], deny: &[&str]) -> SourcePolicy {
    let own = |l: &[&str]| l.iter().map(|&s| s.to_owned()).collect();
    let settings = SourceSettings {
        allow_hosts: own(allow),
        deny_hosts: own(deny),
        ..SourceSettings::default()
    };
    let ip = |text: &str| vec![text.parse().unwrap()];
    SourcePolicy::new(settings)
        .unwrap()
        .with_names(HashMap::from([
            ("good.example".to_owned(), vec![ip("192.0.2.1")]),
            ("sneaky.example".to_owned(), vec![ip("169.254.169.254")]),
            (
                "mixed.example".to_owned(),
                vec![[ip("192.0.2.1"), ip("::ffff:10.0.0.1")].concat()],
            ),
        ]))
}

#[tokio::test]
async fn every_address_is_held_against_the_deny_list() {
    let p = with_hosts(
        &[],
        &["169.254.169.254", "10.0.0.0/8", "*.internal", "bad.example"],
    );
    for ok in [
        "http://good.example/a",
        "rtmp://good.example/app/x",
        "srt://192.0.2.9:9000",
    ] {
        assert!(p.resolve(ok).await.is_ok(), "{ok}");
    }
    for refused in [
        "http://169.254.169.254/latest",
        "http://2852039166/latest",
        "http://0xa9.0xfe.0xa9.0xfe/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://user@169.254.169.254/",
        "http://good.example@169.254.169.254/",
        "http://169.254.169.254\\@good.example/",
        "rtsp://169.254.169.254/x",
        "rtmp://[::ffff:10.1.1.1]/x",
        "http://sneaky.example/",
        "http://mixed.example/",
        "http://x.internal/",
        "http://X.INTERNAL./",
        "http://BAD.example./",
        "rtmp://Bad.Example/x",
    ] {
        let e = p.resolve(refused).await.unwrap_err();
        assert_eq!(e.kind(), SourceErrorKind::Forbidden, "{refused}: {e}");
    }
    let e = p.resolve("http://unknown.example/").await.unwrap_err();
    assert_eq!(
        e,
        SourceError::Unreachable("host 'unknown.example' is not known".into())
    );
}

#[tokio::test]
async fn an_allow_list_admits_by_name_or_by_all_addresses() {
    let p = with_hosts(&["good.example", "192.0.2.0/24"], &["10.0.0.0/8"]);
    assert!(p.resolve("https://good.example/a").await.is_ok());
    assert!(p.resolve("https://192.0.2.77/a").await.is_ok());
    for (refused, why) in [
        ("http://sneaky.example/", "not in sources.allow_hosts"),
        ("http://198.51.100.1/", "not in sources.allow_hosts"),
        ("http://mixed.example/", "in sources.deny_hosts"),
    ] {
        let e = p.resolve(refused).await.unwrap_err();
        assert!(e.to_string().contains(why), "{refused}: {e}");
    }
}

#[test]
fn wrong_settings_name_their_key() {
    let settings = SourceSettings {
        deny_hosts: vec!["a b".into()],
        ..SourceSettings::default()
    };
    let e = SourcePolicy::new(settings).unwrap_err().to_string();
    assert_eq!(
        e,
        "sources.deny_hosts: 'a b' is not a host name, '*.suffix', IP address or CIDR network"
    );
    let roots = vec!["/does/not/exist".into()];
    let e = SourcePolicy::new(SourceSettings {
        roots,
        ..SourceSettings::default()
    })
    .unwrap_err();
    assert!(
        e.to_string()
            .starts_with("sources.roots: '/does/not/exist' is not a folder"),
        "{e}"
    );
}

#[tokio::test]
async fn what_clients_sent_is_read_by_its_name_and_not_listed() {
    let (library, sent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(library.path().join("film.mkv"), "film").unwrap();
    std::fs::create_dir(sent.path().join("1")).unwrap();
    std::fs::write(sent.path().join("1/film.mkv"), "sent").unwrap();
    let settings = |roots| SourceSettings {
        roots,
        uploads: Some(sent.path().into()),
        ..SourceSettings::default()
    };
    for roots in [vec![library.path().into()], vec![]] {
        let has_library = !roots.is_empty();
        let policy = SourcePolicy::new(settings(roots)).unwrap();
        let found = policy.resolve_file("uploaded/1/film.mkv").await.unwrap();
        assert_eq!(std::fs::read(found.path()).unwrap(), b"sent");
        for none in [
            "uploaded",
            "uploaded/1",
            "uploaded/../1/film.mkv",
            "1/film.mkv",
            "uploaded/2/film.mkv",
        ] {
            assert_eq!(policy.resolve_file(none).await, None, "{none}");
        }
        assert_eq!(policy.resolve_file("http://127.0.0.1/film.mkv").await, None);
        assert!(policy.list("uploaded").await.is_err());
        let listed = policy.list("").await;
        assert_eq!(listed.is_ok_and(|l| l.len() == 1), has_library);
    }
}
