//! What is answered: pictures, overviews, sheets, streams and descriptions that are right.

use http::StatusCode;

use super::{Picture, ask, assert_color, body, clock, entries, head, make, quoted, second};
use crate::app::{TestApp, shared_media};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_shows_the_moment_that_is_asked_for() {
    let app = TestApp::start().await;
    let film = clock(app.folder.path(), "clock.mp4", 10, "");
    for (t, wanted) in [
        ("&t=0", 0.0),
        ("&t=7.5", 7.0),
        ("&t=50%25", 5.0),
        ("", 2.0),
        ("&t=100%", 9.0),
    ] {
        let picture = Picture::of(&body(&app, "thumb", &film, t).await);
        // The last one may be the last key frame.
        let fits = (second(&picture) - wanted).abs() < 0.6 || t == "&t=100%";
        assert!(fits, "{t}: {}", second(&picture));
        assert_eq!(picture.size(), (320, 180), "nothing is made larger");
    }
    for (more, size) in [
        ("&width=100", (100, 56)),
        ("&height=90&width=1000", (160, 90)),
        ("&width=640&upscale=true", (640, 360)),
        ("&width=1001", (320, 180)),
        ("&width=33&height=77", (33, 19)),
    ] {
        let picture = Picture::of(&body(&app, "thumb", &film, more).await);
        assert_eq!(picture.size(), size, "{more}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_clips_and_early_ends_of_the_video_still_give_a_picture() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    let short = clock(folder, "short.mp4", 1, "");
    let picture = Picture::of(&body(&app, "thumb", &short, "").await);
    assert!(second(&picture).abs() < 0.6);
    let sound = "-f lavfi -i sine=d=20 -c:v copy -c:a aac";
    let args = format!("-i {} {sound}", clock(folder, "c.mp4", 4, ""));
    let film = make(folder, "sound_goes_on.mp4", &args);
    let answer = body(&app, "thumb", film.to_str().unwrap(), "&t=15").await;
    Picture::of(&answer);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_format_shows_the_same_colours() {
    let app = TestApp::start().await;
    // Left to right: red, green, blue, as BT.709 and BT.601 without a word about it.
    let bars = "-f lavfi -i color=red:s=1280x720:d=3,drawbox=x=426:w=426:h=720:c=lime:t=fill,\
                drawbox=x=852:w=428:h=720:c=blue:t=fill";
    let hd = "-vf scale=out_color_matrix=bt709,format=yuv420p -c:v libx264 -colorspace bt709";
    let sd = "-vf scale=640:360:out_color_matrix=bt601,format=yuv420p -c:v libx264";
    for (name, how) in [("hd.mp4", hd), ("sd.mp4", sd)] {
        let film = make(app.folder.path(), name, &format!("{bars} {how}"));
        for format in ["jpg", "png", "webp", "avif"] {
            let more = format!("&format={format}&quality=95");
            let answer = ask(&app, "thumb", film.to_str().unwrap(), &more).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            let kind = answer.headers["content-type"].to_str().unwrap();
            assert_eq!(kind, format!("image/{}", format.replace("jpg", "jpeg")));
            if format == "avif" {
                // ffmpeg 5.1 writes AVIF, but does not say the matrix when it reads it.
                assert_eq!(&answer.body[4..12], b"ftypavif");
                continue;
            }
            let picture = Picture::of(&answer.body);
            assert_color(
                picture.at(0.15, 0.5),
                [255, 0, 0],
                &format!("{name} {format}"),
            );
            assert_color(
                picture.at(0.5, 0.5),
                [0, 255, 0],
                &format!("{name} {format}"),
            );
            assert_color(
                picture.at(0.85, 0.5),
                [0, 0, 255],
                &format!("{name} {format}"),
            );
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_and_sample_shape_are_applied() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    // The upper half is white.
    let plain =
        "-f lavfi -i color=black:s=320x180:d=3,drawbox=w=320:h=90:c=white:t=fill -c:v libx264";
    let upright = make(folder, "upright.mp4", plain);
    let turned = make(
        folder,
        "turned.mp4",
        &format!("-i {} -c copy -metadata:s:v:0 rotate=90", upright.display()),
    );
    let picture = Picture::of(&body(&app, "thumb", turned.to_str().unwrap(), "").await);
    assert_eq!(picture.size(), (135, 240));
    let (left, right) = (picture.at(0.1, 0.5)[0], picture.at(0.9, 0.5)[0]);
    assert!(left.abs_diff(right) > 200, "the halves lie side by side");
    let wide = make(folder, "wide.mp4", &format!("{plain} -vf setsar=2/1"));
    let picture = Picture::of(&body(&app, "thumb", wide.to_str().unwrap(), "").await);
    assert_eq!(picture.size(), (426, 120));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watermark_lies_in_its_corner() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    let film = make(
        folder,
        "green.mp4",
        "-f lavfi -i color=lime:s=640x360:d=4 -c:v libx264",
    );
    let mark = make(
        folder,
        "ma'rk %d[0].png",
        "-f lavfi -i color=red:s=100x50 -frames:v 1 -update 1",
    );
    let film = film.to_str().unwrap();
    let more = format!("&watermark={}", quoted(mark.to_str().unwrap()));
    let picture = Picture::of(&body(&app, "thumb", film, &format!("{more}&alpha=1")).await);
    assert_eq!(picture.size(), (640, 360), "the source's size");
    // 72 pixels wide, 36 high, 36 from the edges.
    assert_color(picture.at(0.89, 0.85), [255, 0, 0], "inside");
    assert_color(picture.at(0.97, 0.85), [0, 255, 0], "beside");
    assert_color(picture.at(0.89, 0.95), [0, 255, 0], "below");
    assert_color(picture.at(0.80, 0.85), [0, 255, 0], "before");
    let picture = Picture::of(&body(&app, "thumb", film, &more).await);
    assert_color(picture.at(0.89, 0.85), [128, 128, 0], "half seen through");
    let more = format!("{more}&scale=1&offset=1");
    Picture::of(&body(&app, "thumb", film, &more).await);
    let text = folder.join("text.png");
    std::fs::write(&text, "#EXTM3U\n").unwrap();
    let more = format!("&watermark={}", quoted(text.to_str().unwrap()));
    let answer = ask(&app, "thumb", film, &more).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(answer.text().contains("watermark: "), "{}", answer.text());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_films_of_every_kind_give_a_picture() {
    let Some(media) = shared_media() else { return };
    let app = TestApp::start().await;
    for (file, size) in [
        ("audio-cover/bear_with_picture.flac", (278, 240)),
        ("hdr/sample_with_colr_mdcv_and_clli.mp4", (426, 240)),
        ("hdr/hdr10-av1.mp4", (135, 240)),
        ("interlaced/mpeg2_field_encoding.ts", (0, 0)),
        ("plain/no_duration.webm", (0, 0)),
        ("gif/avatar.gif", (0, 0)),
        ("sar/aspect_ratio_4_3_hevc.mp4", (0, 0)),
    ] {
        let answer = body(&app, "thumb", media.join(file).to_str().unwrap(), "").await;
        let picture = Picture::of(&answer);
        let near = |a: usize, b: usize| b == 0 || a.abs_diff(b) <= 1;
        let (width, height) = picture.size();
        assert!(
            near(width, size.0) && near(height, size.1),
            "{file}: {width}x{height}"
        );
    }
    // Read as SDR, this valley is flat and grey; mapped, its sky is bright and its woods are dark.
    let valley = media.join("hdr/sample_with_colr_mdcv_and_clli.mp4");
    let picture = Picture::of(&body(&app, "thumb", valley.to_str().unwrap(), "").await);
    let (sky, woods) = (picture.at(0.72, 0.03)[1], picture.at(0.15, 0.8)[1]);
    assert!(sky > 120 && woods < 60, "{sky} {woods}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overviews_run_through_the_film() {
    let app = TestApp::start().await;
    let film = clock(app.folder.path(), "clock.mp4", 10, "");
    for (format, codec) in [("webm", "vp9"), ("gif", "gif"), ("mp4", "h264")] {
        let more = format!("&format={format}&frames=5&width=160&speed=20");
        let preview = body(&app, "preview", &film, &more).await;
        let facts = entries(
            &preview,
            "stream=codec_name,width,nb_read_frames,r_frame_rate",
        );
        let wanted = format!("codec_name={codec}|width=160|r_frame_rate=5/1|nb_read_frames=5");
        assert_eq!(facts.trim(), wanted);
        let first = Picture::of(&preview);
        assert!(
            (second(&first) - 1.0).abs() < 0.6,
            "{format}: {}",
            second(&first)
        );
    }
    let webp = body(&app, "preview", &film, "&format=webp").await;
    assert_eq!((&webp[..4], &webp[8..12]), (&b"RIFF"[..], &b"WEBP"[..]));
    assert!(webp.windows(4).any(|w| w == b"ANIM"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_pictures_are_an_overview_too() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    let one = make(
        folder,
        "one.mp4",
        "-f lavfi -i testsrc2=s=320x180 -frames:v 1",
    );
    let gif = make(
        folder,
        "one.gif",
        "-f lavfi -i testsrc2=s=320x180 -frames:v 1",
    );
    for film in [one, gif] {
        let preview = body(&app, "preview", film.to_str().unwrap(), "&format=mp4").await;
        assert_eq!(
            entries(&preview, "stream=nb_read_frames").trim(),
            "nb_read_frames=2"
        );
    }
    // Two pictures of five seconds each: at 2.5 s there is the first one still.
    let slides = "-f lavfi -i color=red:s=320x180:r=1/5:d=5 -f lavfi -i color=blue:s=320x180:r=1/5:d=5 \
                  -filter_complex concat=n=2 -c:v libx264";
    let film = make(folder, "slides.mp4", slides);
    let preview = body(
        &app,
        "preview",
        film.to_str().unwrap(),
        "&format=gif&frames=2",
    )
    .await;
    assert_color(
        Picture::of(&preview).at(0.5, 0.5),
        [255, 0, 0],
        "the first slide",
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storyboard_names_sheets_that_show_what_it_says() {
    let app = TestApp::start().await;
    let film = clock(app.folder.path(), "clock.mp4", 10, "-g 25");
    let more = "&interval=1&columns=2&width=64";
    let answer = ask(&app, "storyboard", &film, more).await;
    assert_eq!(answer.headers["content-type"], "text/vtt; charset=utf-8");
    let text = answer.text();
    assert_eq!(text.matches(" --> ").count(), 10, "{text}");
    // The seventh second: third sheet of four, right above.
    let cue = text.split("\n\n").nth(8).unwrap();
    assert!(cue.starts_with("00:00:07.000 --> 00:00:08.000\n"), "{cue}");
    let (url, place) = cue.lines().nth(1).unwrap().split_once("#xywh=").unwrap();
    assert_eq!(place, "64,36,64,36");
    let sheet = app.get(url).await;
    assert_eq!(sheet.status, StatusCode::OK, "{}", sheet.text());
    let sheet = Picture::of(&sheet.body);
    assert_eq!(sheet.size(), (128, 72));
    let shown = Picture {
        rgb: sheet.at(0.75, 0.75).to_vec(),
        width: 1,
        height: 1,
    };
    assert!((second(&shown) - 7.0).abs() < 0.6, "{}", second(&shown));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_hold_what_is_asked_for() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    let film = clock(folder, "clock.mp4", 8, "-f lavfi -i sine=d=8 -c:a aac");
    for (more, video, audio) in [
        ("", "vp9", "opus"),
        ("&video_codec=vp8", "vp8", "vorbis"),
        ("&video_codec=av1&audio_codec=opus", "av1", "opus"),
        ("&audio_codec=vorbis&bitrate=100k", "vp9", "vorbis"),
    ] {
        let more = format!("{more}&t=5&duration=2&width=160");
        let answer = ask(&app, "webm", &film, &more).await;
        assert_eq!(
            answer.headers["content-type"],
            "video/webm",
            "{}",
            answer.text()
        );
        let facts = entries(&answer.body, "stream=codec_name,width,nb_read_frames");
        assert!(
            facts.contains(&format!("codec_name={video}|width=160|")),
            "{facts}"
        );
        assert!(facts.contains(&format!("codec_name={audio}")), "{facts}");
        assert!(facts.contains("nb_read_frames=50"), "{facts}");
        let first = Picture::of(&answer.body);
        assert!((second(&first) - 5.0).abs() < 0.6, "{}", second(&first));
    }
    let sound = make(folder, "sound.mp3", "-f lavfi -i sine=d=3");
    let answer = body(&app, "webm", sound.to_str().unwrap(), "").await;
    assert_eq!(
        entries(&answer, "stream=codec_name").trim(),
        "codec_name=opus"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptions_are_ffprobes_or_short() {
    let app = TestApp::start().await;
    let film = clock(app.folder.path(), "clo\"ck ä%25.mp4", 2, "");
    let meta = ask(&app, "meta", &film, "").await;
    assert!(
        meta.text().starts_with("{\n    \"streams\": [\n"),
        "{}",
        meta.text()
    );
    let json = meta.json();
    assert_eq!(json["streams"][0]["width"], 320);
    assert_eq!(json["format"]["filename"], "clo\"ck ä%25.mp4");
    let summary = ask(&app, "meta", &film, "&fields=summary").await.json();
    assert_eq!(summary["video"]["codec"], "h264");
    assert_eq!(summary["duration_seconds"], 2.0);
    assert_eq!(summary["audio"].as_array().unwrap().len(), 0);
    let version = app.get("/version").await.json();
    assert!(
        version["ver"]
            .as_str()
            .unwrap()
            .starts_with("ffmpeg version ")
    );
    assert!(version["libraries"]["libavcodec"].is_string(), "{version}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn players_may_ask_for_a_part_of_what_is_whole() {
    let app = TestApp::start().await;
    let film = clock(app.folder.path(), "clock.mp4", 3, "");
    let path = format!("/preview?format=mp4&url={}", quoted(&film));
    let whole = app.get(&path).await;
    let tag = whole.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(whole.headers["accept-ranges"], "bytes");
    let size = whole.body.len();
    let part = async |range: &str, condition: &str| {
        let headers = [("range", range), ("if-range", condition)];
        let get = http::Method::GET;
        app.request(get, &path, &headers, "".into()).await
    };
    let some = part("bytes=10-19", &tag).await;
    assert_eq!(some.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(some.body, whole.body[10..20]);
    assert_eq!(some.headers["content-range"], format!("bytes 10-19/{size}"));
    assert_eq!(some.headers["content-type"], "video/mp4");
    assert_eq!(some.headers["etag"], tag);
    let other = part("bytes=10-19", "\"another\"").await;
    assert_eq!((other.status, other.body), (StatusCode::OK, whole.body));
    let beyond = part("bytes=99999999-", &tag).await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.headers["content-range"], format!("bytes */{size}"));
    assert_eq!(beyond.headers["cache-control"], "no-store");
    assert!(beyond.json()["Error"].is_string());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sheets_of_a_keyed_gateway_can_be_shown_by_a_player() {
    let key = "open-sesame";
    let app = TestApp::with(|config| config.security.api_key = Some(key.into())).await;
    let film = clock(app.folder.path(), "clock.mp4", 5, "-g 25");
    let list = format!("/storyboard?url={}&interval=1&width=64", quoted(&film));
    let refused = app.get(&list).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
    assert!(refused.json()["Error"].is_string(), "{}", refused.text());
    let text = app.get(&format!("{list}&api_key={key}")).await.text();
    assert!(!text.contains(key), "{text}");
    let url = text.lines().nth(3).unwrap().split('#').next().unwrap();
    let sheet = app.get(url).await;
    assert_eq!(sheet.status, StatusCode::OK, "{}", sheet.text());
    Picture::of(&sheet.body);
    // The token is for the sheets of this list.
    for (from, to) in [
        ("interval=1", "interval=2"),
        ("clock.mp4", "other.mp4"),
        ("/storyboard?", "/thumb?"),
        ("gst=", "gst=f"),
    ] {
        let other = url.replace(from, to);
        assert_ne!(other, url);
        assert_eq!(
            app.get(&other).await.status,
            StatusCode::UNAUTHORIZED,
            "{other}"
        );
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_kept_by_clients_and_told_when_they_change() {
    let app = TestApp::start().await;
    let film = clock(app.folder.path(), "clock.mp4", 3, "");
    let path = format!("/thumb/?url={}", quoted(&film));
    let first = app.get(&path).await;
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    assert!(
        first.headers["cache-control"]
            .to_str()
            .unwrap()
            .contains("max-age=")
    );
    assert_eq!(first.headers["access-control-allow-origin"], "*");
    let asked = [("if-none-match", tag.as_str())];
    let again = app
        .request(http::Method::GET, &path, &asked, bytes::Bytes::new())
        .await;
    assert_eq!(
        (again.status, again.body.len()),
        (StatusCode::NOT_MODIFIED, 0)
    );
    let seen = head(&app, &path, &[]).await;
    assert_eq!(seen.status, StatusCode::OK);
    assert_eq!(seen.headers["content-length"], first.body.len().to_string());
    let alias = app.get(&path.replace("/thumb/", "/video")).await;
    assert_eq!(alias.body, first.body);
    let stream = head(&app, &path.replace("thumb/", "webm"), &[]).await;
    assert_eq!((stream.status, stream.body.len()), (StatusCode::OK, 0));
    assert_eq!(stream.headers["content-type"], "video/webm");
    clock(app.folder.path(), "clock.mp4", 5, "");
    let changed = app
        .request(http::Method::GET, &path, &asked, bytes::Bytes::new())
        .await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(changed.headers["etag"], tag);
    app.stop().await;
}
