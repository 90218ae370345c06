//! Names that are no honest sources, and honest files with odd names.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::*;
use crate::fake::FakeFfmpeg;
use crate::resilience::clip;

/// Sources that lead, or would lead a careless gateway, to what it must not read.
const NEVER: &[&str] = &[
    "/etc/passwd",
    "../../../../../../etc/passwd",
    "a/../../../../../../etc/passwd",
    "./../../../../../../etc/passwd",
    "file:///etc/passwd",
    "file:/etc/passwd",
    "FILE:///etc/passwd",
    " file:///etc/passwd",
    "file://localhost/etc/passwd",
    "file://evil.example/etc/passwd",
    "file:///%2e%2e/%2e%2e/etc/passwd",
    "file:../../../../../etc/passwd",
    "/proc/self/environ",
    "/dev/zero",
    "/dev/stdin",
    "concat:/etc/passwd|/etc/hostname",
    "concatf:/etc/passwd",
    "subfile:,,start,0,end,100,,:/etc/passwd",
    "subfile,,start,0,end,100,,:/etc/passwd",
    "data:text/plain;base64,I0VYVE0zVQ==",
    "data:application/x-mpegurl,#EXTM3U",
    "pipe:",
    "pipe:0",
    "pipe:1",
    "fd:0",
    "cache:file:///etc/passwd",
    "async:file:/etc/passwd",
    "crypto:/etc/passwd",
    "unix:/run/some.sock",
    "tee:/tmp/x",
    "md5:",
    "lavfi:testsrc",
    "testsrc=duration=1",
    "lavfi:amovie=/etc/passwd",
    "gopher://127.0.0.1:9/x",
    "gophers://127.0.0.1:9/x",
    "ftp://127.0.0.1:9/x",
    "sftp://127.0.0.1/x",
    "smb://127.0.0.1/x",
    "tcp://127.0.0.1:9",
    "udp://127.0.0.1:5004",
    "rtp://127.0.0.1:5004",
    "hls+file:///etc/passwd",
    "hls+http://127.0.0.1:9/x.m3u8",
    "httpproxy://127.0.0.1:9/x",
    "libssh:x",
    "ipfs://x",
    "javascript://x/%0aalert(1)",
    "http:",
    "http://",
    "http:///etc/passwd",
    "http://?",
    "http://a b/",
    "https://:443/",
    "http://127.0.0.1:99999/x",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/latest/",
    "http://0xa9fea9fe/latest/",
    "http://2852039166/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://METADATA.google.internal./",
    "srt://127.0.0.1:9?mode=listener",
    "-i",
    "-",
    "@/etc/passwd",
    "|ls",
    "`id`",
    "$(id)",
    ".",
    "..",
    "/",
    "//etc/passwd",
    "\\\\host\\share\\film.mkv",
    "C:\\Windows\\win.ini",
    "~/film.mkv",
    "~root/film.mkv",
    "nothing.mkv",
    "clip.mkv/",
    "clip.mkv/..",
    "clip.mkv?x",
    "clip%2emkv",
    "CLIP.MKV",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_leads_out_of_the_roots() {
    count_panics();
    let fake = FakeFfmpeg::new();
    let app = TestApp::with(|config| {
        fake.use_in(config);
        config.sources.roots = vec![config.transcoding.temp_directory.parent().unwrap().into()];
    })
    .await;
    let folder = app.folder.path();
    clip(folder, "clip.mkv", 1);
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.join(name)).unwrap();
    link("/etc/passwd", "link-to-passwd.mkv");
    link("/dev/zero", "link-to-zero.mkv");
    link("/etc", "link-to-etc");
    link("link-to-itself.mkv", "link-to-itself.mkv");
    nix::unistd::mkfifo(&folder.join("fifo.mkv"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket.mkv")).unwrap();
    std::fs::create_dir(folder.join("folder.mkv")).unwrap();
    let made = [
        "link-to-passwd.mkv",
        "link-to-zero.mkv",
        "link-to-etc/passwd",
        "link-to-itself.mkv",
        "fifo.mkv",
        "socket.mkv",
        "folder.mkv",
        "cache",
    ];
    for source in NEVER.iter().chain(&made) {
        let verdict = judge(&app, source).await;
        assert!(
            matches!(verdict, Verdict::Refused(400 | 403 | 404 | 502, _)),
            "{source}: {verdict:?}"
        );
    }
    assert_eq!(fake.runs(), [], "an encoder was started");
    let inside = folder.join("clip.mkv");
    let inside = inside.to_str().unwrap();
    for source in [
        "clip.mkv",
        "./clip.mkv",
        inside,
        &format!("file://{inside}"),
    ] {
        assert_eq!(judge(&app, source).await, Verdict::Plays, "{source}");
    }
    assert_all_ended(&app).await;
    app.stop().await;
    assert_no_panic();
}

fn odd_names() -> Vec<Vec<u8>> {
    let long = format!("{}.mkv", "x".repeat(250));
    let names = [
        "-i.mkv",
        "--.mkv",
        "a b  c.mkv",
        " leading.mkv",
        "percent-%03d.mkv",
        "percent-%41%2f.mkv",
        "both'quotes\".mkv",
        "shell;&$(id)`id`|x.mkv",
        "\u{65e5}\u{672c}\u{8a9e} \u{0641}\u{064a}\u{0644}\u{0645}.mkv",
        "new\nline.mkv",
        "return\r.mkv",
        "control\u{1}\u{7f}.mkv",
        "back\\slash.mkv",
        "question?and#hash.mkv",
        "pipe:0",
        "concat:a|b.mkv",
        "a:b,c.mkv",
        "[brackets]{braces}*.mkv",
        &long,
    ];
    let mut names: Vec<Vec<u8>> = names.iter().map(|n| n.as_bytes().to_vec()).collect();
    names.push(b"not-utf8-\xff\xfe.mkv".to_vec());
    names
}

/// A URL that spells every byte of the path.
fn file_url(path: &Path) -> String {
    let mut url = "file://".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' => url.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => url.push(char::from(*byte)),
            byte => url += &format!("%{byte:02X}"),
        }
    }
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_with_odd_names_play_and_fail_like_others() {
    count_panics();
    let app = TestApp::start().await;
    let folder = app.folder.path();
    let whole = std::fs::read(folder.join(clip(folder, "clip.mkv", 1))).unwrap();
    let broken = folder.join("broken");
    std::fs::create_dir(&broken).unwrap();
    for name in odd_names() {
        let name = std::ffi::OsStr::from_bytes(&name);
        let path = folder.join(name);
        std::fs::write(&path, &whole).unwrap();
        let verdict = judge(&app, &file_url(&path)).await;
        assert_eq!(verdict, Verdict::Plays, "{path:?}");
        // Reasons of ffmpeg name the file, with what is odd in its name written otherwise.
        let path: PathBuf = broken.join(name);
        std::fs::write(&path, &whole[..100]).unwrap();
        let verdict = judge(&app, &file_url(&path)).await;
        assert!(matches!(verdict, Verdict::Refused(..)), "{path:?}");
        if let Some(name) = name.to_str().filter(|n| n.trim() == *n) {
            let relative = judge(&app, &format!("broken/{name}")).await;
            assert_eq!(relative, verdict, "{path:?}");
        }
    }
    assert_all_ended(&app).await;
    app.stop().await;
    assert_no_panic();
}
