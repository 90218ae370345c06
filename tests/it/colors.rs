//! Colours come out right, whatever the source's are.

use std::path::Path;

use serde_json::{Value, json};

use crate::app::{TestApp, ffmpeg};
use crate::media::{make, run};

/// Mean red, green and blue of a part of the first picture, `crop` being one of ffmpeg's.
fn rgb(file: &Path, crop: &str) -> [i32; 3] {
    let filters = format!("{crop},scale=1:1:flags=area,format=rgb24");
    let input = ["-i", file.to_str().unwrap(), "-vf", &filters];
    let output = ["-frames:v", "1", "-f", "rawvideo", "-"];
    let bytes = ffmpeg(&[&input[..], &output[..]].concat());
    [0, 1, 2].map(|i| i32::from(bytes[i]))
}

/// The tags of a file's pictures: primaries, transfer, matrix, range.
fn tags(file: &Path) -> [String; 4] {
    let show = "stream=color_primaries,color_transfer,color_space,color_range";
    let args = [
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        show,
        "-of",
        "json",
    ];
    let (out, _) = run("ffprobe", &[&args[..], &[file.to_str().unwrap()]].concat());
    let told: Value = serde_json::from_slice(&out).unwrap();
    [
        "color_primaries",
        "color_transfer",
        "color_space",
        "color_range",
    ]
    .map(|name| {
        told["streams"][0][name]
            .as_str()
            .unwrap_or("unknown")
            .to_owned()
    })
}

/// One colour in a ten-bit film, by its code values, tagged as `transfer`.
fn film(folder: &Path, name: &str, code: [u16; 3], transfer: Option<&str>) {
    let [y, u, v] = code;
    let source =
        format!("color=black:s=320x180:r=25:d=1,format=yuv420p10,geq=lum={y}:cb={u}:cr={v}");
    let tags = match transfer {
        Some(t) => format!("-color_primaries bt2020 -color_trc {t} -colorspace bt2020nc"),
        None => String::new(),
    };
    let codec =
        "-c:v libx265 -preset ultrafast -crf 8 -x265-params log-level=error -pix_fmt yuv420p10le";
    make(folder, name, &[&source], &format!("{codec} {tags}"));
}

/// The first segment of what a film is played as.
async fn played(app: &TestApp, source: &str, output: Value) -> std::path::PathBuf {
    let job = app.stream(source, output).await;
    let bytes = app.file(&job, "segment_00000.ts").await;
    let path = app.folder.path().join("played.ts");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Code values of BT.709 white, red, green and blue at 100 cd/m2, with the transfer of HDR10.
const PQ: [[u16; 3]; 4] = [
    [509, 512, 512],
    [341, 446, 601],
    [468, 430, 476],
    [238, 654, 536],
];
/// The same at a fifth of the peak, with that of HLG.
const HLG: [[u16; 3]; 4] = [
    [672, 512, 512],
    [327, 416, 691],
    [580, 341, 424],
    [185, 766, 526],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hdr_becomes_sdr_of_the_same_hues() {
    let app = TestApp::start().await;
    let folder = app.folder.path().to_owned();
    for (transfer, codes) in [("smpte2084", PQ), ("arib-std-b67", HLG)] {
        for (nth, code) in codes.into_iter().enumerate() {
            let name = format!("{transfer}-{nth}.mp4");
            film(&folder, &name, code, Some(transfer));
            let file = played(&app, &name, json!({})).await;
            assert_eq!(tags(&file), ["bt709", "bt709", "bt709", "tv"], "{name}");
            let shown = rgb(&file, "null");
            let (least, most) = (*shown.iter().min().unwrap(), *shown.iter().max().unwrap());
            match nth {
                0 => assert!(most - least <= 4 && least > 110, "{name}: {shown:?}"),
                own => {
                    assert_eq!(shown[own - 1], most, "{name}: {shown:?}");
                    let others: i32 = shown.iter().sum::<i32>() - most;
                    assert!(most > 110 && others < 50, "{name}: {shown:?}");
                }
            }
        }
    }
    // As it is, on request: the code values stay, read as they lie.
    let plain = played(&app, "smpte2084-0.mp4", json!({"tone_map": false})).await;
    let [red, green, blue] = rgb(&plain, "null");
    let kept = 255 * (509 - 64) / 876;
    for shown in [red, green, blue] {
        assert!((shown - kept).abs() <= 4, "{shown} is not {kept}");
    }
    app.stop().await;
}

/// Where the box `name` begins and ends among those from `from` to `to`.
fn find_box(bytes: &[u8], from: usize, to: usize, name: &[u8]) -> (usize, usize) {
    let mut at = from;
    while at < to {
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        if &bytes[at + 4..at + 8] == name {
            return (at, at + size);
        }
        at += size;
    }
    panic!("no {}", String::from_utf8_lossy(name));
}

/// Declares a film as Dolby Vision profile 8, whose pictures are those of HDR10 (`compatible` 1) or HLG (4): with
/// the record of its configuration, as "Dolby Vision Streams Within the ISO Base Media File Format" has it.
fn declare_dolby_vision_8(path: &Path, compatible: u8) {
    let mut bytes = std::fs::read(path).unwrap();
    let (mut from, mut to) = (0, bytes.len());
    let mut outer = Vec::new();
    for (name, head) in [
        (b"moov", 8),
        (b"trak", 8),
        (b"mdia", 8),
        (b"minf", 8),
        (b"stbl", 8),
        (b"stsd", 16),
        (b"hev1", 8),
    ] {
        let (begin, end) = find_box(&bytes, from, to, name);
        outer.push(begin);
        (from, to) = (begin + head, end);
    }
    let mut record = vec![0; 24];
    // Version 1.0; profile 8, level 1; metadata and base layer are there; what the base layer is.
    record[..5].copy_from_slice(&[1, 0, 8 << 1, (1 << 3) | 0b101, compatible << 4]);
    let entry = [&32u32.to_be_bytes()[..], b"dvvC", &record].concat();
    // The media lies before: nothing that is pointed to moves.
    let (media, _) = find_box(&bytes, 0, bytes.len(), b"mdat");
    assert!(media < outer[0]);
    bytes.splice(to..to, entry);
    for begin in outer {
        let size = u32::from_be_bytes(bytes[begin..begin + 4].try_into().unwrap()) + 32;
        bytes[begin..begin + 4].copy_from_slice(&size.to_be_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dolby_vision_8_is_mapped_as_what_its_base_layer_is() {
    let app = TestApp::start().await;
    let folder = app.folder.path().to_owned();
    for (transfer, codes, compatible) in [("smpte2084", PQ, 1), ("arib-std-b67", HLG, 4)] {
        for own in [1, 2, 3] {
            let name = format!("{transfer}-{own}.mp4");
            film(&folder, &name, codes[own], Some(transfer));
            let path = folder.join(&name);
            declare_dolby_vision_8(&path, compatible);
            let show = "stream_side_data=dv_profile,dv_bl_signal_compatibility_id";
            let args = ["-v", "error", "-show_entries", show, "-of", "csv=p=0"];
            let (out, _) = run("ffprobe", &[&args[..], &[path.to_str().unwrap()]].concat());
            let declared = String::from_utf8(out).unwrap();
            assert!(declared.contains(&format!("8,{compatible}")), "{declared}");
            let file = played(&app, &name, json!({})).await;
            assert_eq!(tags(&file), ["bt709", "bt709", "bt709", "tv"], "{name}");
            let shown = rgb(&file, "null");
            let others: i32 = shown.iter().sum::<i32>() - shown[own - 1];
            assert!(shown[own - 1] > 110 && others < 50, "{name}: {shown:?}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_bits_alone_are_no_hdr() {
    let app = TestApp::start().await;
    let folder = app.folder.path().to_owned();
    // BT.709 red, and mid grey.
    for (code, wanted) in [
        ([250, 409, 960], [255, 0, 0]),
        ([502, 512, 512], [128, 128, 128]),
    ] {
        film(&folder, "sdr.mp4", code, None);
        let shown = rgb(
            &played(&app, "sdr.mp4", json!({})).await,
            "scale=in_color_matrix=bt709,format=gbrp",
        );
        let near = shown
            .iter()
            .zip(wanted)
            .all(|(s, w): (_, i32)| (s - w).abs() <= 5);
        assert!(near, "{shown:?} is not {wanted:?}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dolby_vision_5_is_mapped_or_refused() {
    let app = TestApp::start().await;
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media/dolby-vision-5.mp4");
    std::fs::copy(clip, app.folder.path().join("film.mp4")).unwrap();
    let job = app.stream("film.mp4", json!({})).await;
    let opened = |s: &Value| {
        s["status"] != "queued" && (s["status"] == "error" || s["duration"].as_f64() > Some(0.0))
    };
    let status = app
        .status_until(&job, std::time::Duration::from_secs(60), opened)
        .await;
    if status["status"] == "error" {
        // No Vulkan device, or an ffmpeg without libplacebo.
        let reason = status["error_message"].as_str().unwrap();
        assert!(
            reason.contains("libplacebo") && reason.contains("Vulkan"),
            "{status}"
        );
        eprintln!("left out: {reason}");
        return app.stop().await;
    }
    let bytes = app.file(&job, "segment_00000.ts").await;
    let file = app.folder.path().join("played.ts");
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(tags(&file), ["bt709", "bt709", "bt709", "tv"]);
    let bar = |nth: i32| rgb(&file, &format!("crop=32:64:{}:32", nth * 64 + 16));
    let [white, grey] = [bar(0), bar(5)];
    for neutral in [white, grey] {
        let spread = neutral.iter().max().unwrap() - neutral.iter().min().unwrap();
        assert!(spread <= 6, "{neutral:?}");
    }
    assert!(white[0] > grey[0] + 30, "{white:?} {grey:?}");
    for (nth, own) in [(1, 0), (2, 1), (3, 2)] {
        let shown = bar(nth);
        let others = shown.iter().enumerate().filter(|(i, _)| *i != own);
        assert!(
            others.clone().all(|(_, v)| *v * 2 < shown[own]),
            "{nth}: {shown:?}"
        );
    }
    app.stop().await;
}
