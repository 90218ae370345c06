//! Pictures and the like of a source.

use crate::media::query::{
    MAX_SIDE, MetaFields, PictureFormat, PreviewFormat, WebmAudio, WebmVideo,
};

use super::build::{
    Described, Shape, any, flag, get, named, number_in, one_of, some_text, text, text_of, whole,
};

const PICTURES: [&str; 4] = ["image/jpeg", "image/png", "image/webp", "image/avif"];

fn names(names: &'static [&'static str]) -> Shape {
    one_of(names.iter().copied())
}

/// A query of a source, and how it is refused.
fn query(path: &'static str, id: &str, summary: &str) -> Described {
    [
        (400, "A parameter is missing or wrong; it is named"),
        (403, "The source is not allowed"),
        (404, "There is no such file"),
        (415, "The source is no media, or holds no picture there"),
        (500, "An encoder could not be started"),
        (502, "The source cannot be reached, or broke off"),
        (503, "Too many queries wait; try again as Retry-After says"),
        (504, "The source was too slow"),
    ]
    .into_iter()
    .fold(get(path, id, summary), |described, (status, text)| {
        described.json(status, text, named("QueryError"))
    })
    .required_query(
        "url",
        "URL, or a file below sources.roots",
        some_text("As `source` of a stream"),
    )
    .header(
        "X-Source-Authorization",
        "Sent to the source as its Authorization",
        text(),
    )
    .header("If-None-Match", "Entity tag of an earlier answer", text())
    .empty(304, "The answer has not changed")
}

/// An answer that is whole before it is sent, of the media types `kinds`.
fn finished(described: Described, about: &str, kinds: &[&str]) -> Described {
    let range = text_of("`bytes=0-99`");
    let condition = "Entity tag of the answer that the part belongs to";
    described
        .header("Range", "Part of it", range)
        .header("If-Range", condition, text())
        .kinds(200, about, kinds)
        .kinds(206, "The part", kinds)
        .json(416, "The range lies beyond the end", named("QueryError"))
}

fn sized(described: Described) -> Described {
    let side = || whole("Pixels", 1, MAX_SIDE as i32);
    described
        .query("width", "Of the box that the picture fits into", side())
        .query("height", "Of the box that the picture fits into", side())
        .query(
            "upscale",
            "Whether a smaller picture is made larger",
            flag(),
        )
}

pub(super) fn describe() -> Vec<Described> {
    let place = || text_of("Seconds, or a share such as `50%`");
    let share = |about| number_in(about, 0.0, 1.0);
    let quality = || whole("1 to 100", 1, 100);
    vec![
        finished(
            sized(query("/thumb", "thumb", "A picture of a film"))
                .about("Also at `/video?url=`.")
                .query("t", "Where in the film", place())
                .query("format", "File format", names(PictureFormat::NAMES))
                .query("quality", "Of JPEG, WebP and AVIF", quality())
                .query(
                    "watermark",
                    "URL or file of a picture to be laid over it",
                    text(),
                )
                .query("alpha", "How much the watermark covers", share("0 to 1"))
                .query("scale", "Size of the watermark", share("0 to 1"))
                .query(
                    "offset",
                    "Distance of the watermark from the edges",
                    share("0 to 1"),
                ),
            "The picture",
            &PICTURES,
        ),
        finished(
            sized(query(
                "/preview",
                "preview",
                "An animated overview of a film",
            ))
            .query("format", "File format", names(PreviewFormat::NAMES))
            .query("frames", "Pictures", whole("2 to 120", 2, 120))
            .query(
                "speed",
                "10 shows each picture for 0.4 s",
                number_in("Speed", 0.1, 100.0),
            ),
            "The animation",
            &["video/webm", "image/gif", "image/webp", "video/mp4"],
        ),
        finished(
            query(
                "/storyboard",
                "storyboard",
                "Small pictures of the whole film, as WebVTT",
            )
            .query(
                "interval",
                "Seconds between two pictures",
                number_in("Seconds", 1.0, 3600.0),
            )
            .query("width", "Pixels of a picture", whole("Pixels", 16, 480))
            .query(
                "columns",
                "Pictures beside each other on a sheet",
                whole("1 to 20", 1, 20),
            )
            .query(
                "format",
                "File format of the sheets",
                names(PictureFormat::NAMES),
            )
            .query("quality", "Of JPEG, WebP and AVIF", quality())
            .query(
                "sheet",
                "Number of a sheet, which is then the answer",
                whole("From 0", 0, 172_800),
            )
            .signed(),
            "The list, or a sheet",
            &[
                "text/vtt",
                "image/jpeg",
                "image/png",
                "image/webp",
                "image/avif",
            ],
        ),
        query("/webm", "webm", "A film as WebM, from a place on")
            .query("t", "Where in the film it begins", place())
            .query("duration", "Seconds", number_in("Seconds", 0.1, 172_800.0))
            .query("width", "Pixels", whole("Pixels", 1, MAX_SIDE as i32))
            .query("height", "Pixels", whole("Pixels", 1, MAX_SIDE as i32))
            .query(
                "upscale",
                "Whether smaller pictures are made larger",
                flag(),
            )
            .query("bitrate", "Of the picture", text_of("`500k`, `2M`"))
            .query("video_codec", "Of the picture", names(WebmVideo::NAMES))
            .query("audio_codec", "Of the sound", names(WebmAudio::NAMES))
            .bytes(200, "The film, while it is made", "video/webm"),
        query("/meta", "meta", "What a source holds")
            .query("fields", "How much", names(MetaFields::NAMES))
            .header("Range", "Part of it", text_of("`bytes=0-99`"))
            .header(
                "If-Range",
                "Entity tag of the answer that the part belongs to",
                text(),
            )
            .json(200, "As ffprobe tells it, and more", any("An object"))
            .bytes(206, "The part", "application/json")
            .json(416, "The range lies beyond the end", named("QueryError")),
        get("/version", "version", "The ffmpeg that the gateway uses")
            .header("If-None-Match", "Entity tag of an earlier answer", text())
            .header("Range", "Part of it", text_of("`bytes=0-99`"))
            .json(200, "Versions", any("An object"))
            .bytes(206, "The part", "application/json")
            .json(416, "The range lies beyond the end", named("QueryError"))
            .empty(304, "The answer has not changed"),
    ]
}
