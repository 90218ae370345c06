use proptest::prelude::*;

use super::*;

/// Runs the reader over a whole file in memory, and counts its reads.
fn index(container: ContainerHint, file: &[u8], nth_video: usize) -> (Option<Vec<i64>>, u32) {
    let mut reader = IndexReader::new(container, nth_video);
    let mut step = reader.start();
    let mut reads = 0;
    loop {
        match step {
            Step::Need { offset, len } => {
                reads += 1;
                let from = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(file.len());
                let to = from.saturating_add(len).min(file.len());
                step = reader.feed(&file[from..to]);
            }
            Step::Done(found) => {
                let us = |k: KeyframeIndex| k.pts().iter().map(|t| t.as_micros()).collect();
                return (found.map(us), reads);
            }
        }
    }
}

fn mp4(file: &[u8]) -> Option<Vec<i64>> {
    index(ContainerHint::Mp4, file, 0).0
}

fn boxed(kind: &str, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    [
        &(body.len() as u32 + 8).to_be_bytes(),
        kind.as_bytes(),
        &body,
    ]
    .concat()
}

fn words(values: &[i64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|&v| (v as u32).to_be_bytes())
        .collect()
}

struct Track {
    /// (media time or -1, duration), in milliseconds.
    edits: Vec<(i64, i64)>,
    sync: Option<Vec<i64>>,
    /// (count, offset), in ticks.
    offsets: Vec<(i64, i64)>,
}

/// A track of 100 samples of 40 ticks; 1000 ticks per second.
fn trak(t: &Track) -> Vec<u8> {
    let edits: Vec<i64> = t
        .edits
        .iter()
        .flat_map(|&(m, d)| [d, m, 0x1_0000])
        .collect();
    let elst = [words(&[0, t.edits.len() as i64]), words(&edits)].concat();
    let edts = boxed("edts", &[&boxed("elst", &[&elst])]);
    let offsets: Vec<i64> = t.offsets.iter().flat_map(|&(n, o)| [n, o]).collect();
    let ctts = [words(&[0, t.offsets.len() as i64]), words(&offsets)].concat();
    let stss = t
        .sync
        .as_ref()
        .map(|s| boxed("stss", &[&words(&[0, s.len() as i64]), &words(s)]));
    let stbl = boxed(
        "stbl",
        &[
            &boxed("stts", &[&words(&[0, 2, 60, 40, 40, 40])]),
            &boxed("ctts", &[&ctts]),
            &stss.unwrap_or_default(),
            &boxed("stsz", &[&words(&[0, 1000, 100])]),
        ],
    );
    let mdia = boxed(
        "mdia",
        &[
            &boxed("mdhd", &[&words(&[0, 0, 0, 1000, 4000, 0])]),
            &boxed("hdlr", &[&words(&[0, 0]), b"vide", &words(&[0, 0, 0])]),
            &boxed("minf", &[&stbl]),
        ],
    );
    let edts = if t.edits.is_empty() { vec![] } else { edts };
    boxed("trak", &[&edts, &mdia])
}

fn moov(traks: &[Vec<u8>]) -> Vec<u8> {
    boxed(
        "moov",
        &[
            &boxed("mvhd", &[&words(&[0, 0, 0, 1000, 4000])]),
            &traks.concat(),
        ],
    )
}

fn plain() -> Track {
    Track {
        edits: vec![],
        sync: Some(vec![1, 26, 76]),
        offsets: vec![(100, 80)],
    }
}

#[test]
fn an_index_behind_its_media_is_seen_from_the_start() {
    let file = |boxes: &[(u32, &[u8; 4])]| {
        let mut out = Vec::new();
        for (size, kind) in boxes {
            out.extend(size.to_be_bytes());
            out.extend(*kind);
            out.resize(out.len() + (*size as usize).clamp(8, 100) - 8, 0);
        }
        out
    };
    for (boxes, behind) in [
        (
            &[(20, b"ftyp"), (8, b"free"), (5_000_000, b"mdat")][..],
            true,
        ),
        (&[(20, b"ftyp"), (1, b"mdat")], true),
        (&[(20, b"ftyp"), (60, b"moov"), (90, b"mdat")], false),
        (&[(20, b"ftyp"), (7, b"free"), (90, b"mdat")], false),
        (&[(90, b"mdat")], true),
        (&[(20, b"abcd"), (90, b"mdat")], false),
    ] {
        assert_eq!(index_follows_media(&file(boxes)), behind, "{boxes:?}");
    }
    assert!(!index_follows_media(b""));
}

#[test]
fn times_are_decode_time_plus_offset() {
    let file = moov(&[trak(&plain())]);
    assert_eq!(mp4(&file), Some(vec![80_000, 1_080_000, 3_080_000]));
    let all = moov(&[trak(&Track {
        sync: None,
        offsets: vec![],
        ..plain()
    })]);
    assert_eq!(mp4(&all).unwrap().len(), 100);
}

#[test]
fn an_edit_moves_its_first_picture_to_the_end_of_the_empty_edits() {
    let with = |edits: &[(i64, i64)]| {
        mp4(&moov(&[trak(&Track {
            edits: edits.to_vec(),
            ..plain()
        })]))
    };
    assert_eq!(with(&[(80, 4000)]), Some(vec![0, 1_000_000, 3_000_000]));
    assert_eq!(
        with(&[(-1, 500), (80, 4000)]),
        Some(vec![500_000, 1_500_000, 3_500_000])
    );
    // Begins between two pictures, ends before the last keyframe.
    assert_eq!(with(&[(1050, 1500)]), Some(vec![0]));
    // Several parts, or none, or no length.
    for edits in [
        &[(80, 1000), (2000, 1000)][..],
        &[(-1, 500)],
        &[(80, 0)],
        &[(-7, 9)],
    ] {
        assert_eq!(with(edits), None, "{edits:?}");
    }
}

#[test]
fn the_index_is_found_at_the_end_and_the_right_track_is_taken() {
    let second = Track {
        sync: Some(vec![1]),
        offsets: vec![(100, -40)],
        ..plain()
    };
    let file = [
        boxed("ftyp", &[b"isom"]),
        boxed("mdat", &[&vec![0; 500_000]]),
        boxed("free", &[&[]]),
        boxed(
            "moov",
            &[
                &boxed("free", &[&vec![0; 100_000]]),
                &moov(&[trak(&plain()), trak(&second)])[8..],
            ],
        ),
    ]
    .concat();
    assert_eq!(
        index(ContainerHint::Mp4, &file, 0),
        (Some(vec![80_000, 1_080_000, 3_080_000]), 3)
    );
    assert_eq!(index(ContainerHint::Mp4, &file, 1).0, Some(vec![-40_000]));
    assert_eq!(index(ContainerHint::Mp4, &file, 2).0, None);
}

#[test]
fn what_cannot_be_trusted_is_left_alone() {
    let fragmented = boxed(
        "moov",
        &[&boxed("mvex", &[]), &moov(&[trak(&plain())])[8..]],
    );
    let unsorted = moov(&[trak(&Track {
        sync: Some(vec![1, 50, 20]),
        ..plain()
    })]);
    let mut endless = vec![0, 0, 0, 1];
    endless.extend(b"mdat");
    endless.extend(u64::MAX.to_be_bytes());
    for file in [
        &fragmented,
        &unsorted,
        &endless,
        &boxed("moof", &[]),
        &vec![],
        &vec![0; 64],
    ] {
        assert_eq!(mp4(file), None);
    }
    let crumbs = boxed("free", &[&vec![0; 70_000]]).repeat(1000);
    assert_eq!(index(ContainerHint::Mp4, &crumbs, 0), (None, 10));
}

fn element(id: u32, body: &[&[u8]]) -> Vec<u8> {
    let id: Vec<u8> = id
        .to_be_bytes()
        .into_iter()
        .skip_while(|&b| b == 0)
        .collect();
    let body = body.concat();
    let size = (body.len() as u64 | 1 << 56).to_be_bytes();
    [&id[..], &size, &body].concat()
}

fn cue(time: u8, track: u8) -> Vec<u8> {
    let positions = element(0xB7, &[&element(0xF7, &[&[track]])]);
    element(0xBB, &[&element(0xB3, &[&[time]]), &positions])
}

/// A file whose Cues lie behind its pictures, with an audio track 1 and a video track 2.
fn mkv(scale: &[u8], seek_to_cues: bool) -> Vec<u8> {
    let ebml = element(0x1A45_DFA3, &[&[0; 20]]);
    let entry = |number: u8, kind: u8| {
        element(
            0xAE,
            &[&element(0xD7, &[&[number]]), &element(0x83, &[&[kind]])],
        )
    };
    let info = element(0x1549_A966, &[&element(0x002A_D7B1, &[scale])]);
    let tracks = element(0x1654_AE6B, &[&entry(1, 2), &entry(2, 1)]);
    let cluster = element(0x1F43_B675, &[&vec![0; 300_000]]);
    let cues = element(0x1C53_BB6B, &[&cue(100, 2), &cue(0, 2), &cue(7, 1)]);
    let seek_head = |position: u32| {
        let seek = element(
            0x4DBB,
            &[
                &element(0x53AB, &[&0x1C53_BB6B_u32.to_be_bytes()]),
                &element(0x53AC, &[&position.to_be_bytes()]),
            ],
        );
        element(0x114D_9B74, &[&seek])
    };
    let before = seek_head(0).len() + info.len() + tracks.len() + cluster.len();
    let head = if seek_to_cues {
        seek_head(before as u32)
    } else {
        vec![]
    };
    [
        ebml,
        element(0x1853_8067, &[&head, &info, &tracks, &cluster, &cues]),
    ]
    .concat()
}

#[test]
fn cues_are_found_behind_the_pictures() {
    let file = mkv(&[0x0F, 0x42, 0x40], true);
    assert_eq!(
        index(ContainerHint::Matroska, &file, 0),
        (Some(vec![0, 100_000]), 2)
    );
    assert_eq!(index(ContainerHint::Matroska, &file, 1).0, None);
    assert_eq!(index(ContainerHint::Matroska, &mkv(&[0], true), 0).0, None);
    let file = mkv(&[0x0F, 0x42, 0x40], false);
    assert_eq!(index(ContainerHint::Matroska, &file, 0), (None, 1));
}

#[test]
fn container_names_are_ffprobes() {
    assert_eq!(
        ContainerHint::from_format_name("mov,mp4,m4a,3gp,3g2,mj2"),
        Some(ContainerHint::Mp4)
    );
    assert_eq!(
        ContainerHint::from_format_name("matroska,webm"),
        Some(ContainerHint::Matroska)
    );
    assert_eq!(ContainerHint::from_format_name("mpegts"), None);
}

proptest! {
    #[test]
    fn damaged_files_neither_panic_nor_read_on(
        which in 0..3,
        damage in proptest::collection::vec((0.0..1.0_f64, any::<u8>()), 1..12),
        cut in 0.0..1.0_f64,
    ) {
        let (container, mut file) = match which {
            0 => (ContainerHint::Mp4, moov(&[trak(&plain()), trak(&plain())])),
            1 => {
                let edits = vec![(-1, 500), (80, 4000)];
                (ContainerHint::Mp4, moov(&[trak(&Track { edits, ..plain() })]))
            }
            _ => {
                let mut file = mkv(&[0x0F, 0x42, 0x40], true);
                file.drain(1000..300_000);
                (ContainerHint::Matroska, file)
            }
        };
        for (at, byte) in damage {
            let at = (at * file.len() as f64) as usize;
            file[at] = byte;
        }
        file.truncate((file.len() as f64 * (0.5 + cut)) as usize);
        let (found, reads) = index(container, &file, 0);
        prop_assert!(reads <= 10);
        prop_assert!(found.is_none_or(|f| f.is_sorted() && !f.is_empty()));
    }

    #[test]
    fn noise_neither_panics_nor_reads_on(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for container in [ContainerHint::Mp4, ContainerHint::Matroska] {
            prop_assert!(index(container, &bytes, 0).1 <= 10);
        }
    }
}
