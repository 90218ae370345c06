use super::*;

fn p(query: &str) -> Parameters {
    Parameters::parse(query)
}

fn thumb(query: &str) -> Result<ThumbQuery, ParameterError> {
    ThumbQuery::read(&p(query))
}

fn seconds(s: f64) -> Position {
    Position::At(MediaTime::from_secs_f64(s))
}

#[test]
fn defaults_are_the_originals() {
    let q = thumb("url=x").unwrap();
    assert_eq!((q.fit, q.format), (BOX, PictureFormat::Jpeg));
    let q = thumb("watermark=w").unwrap();
    assert_eq!((q.fit.width, q.fit.height), (None, None));
    let w = q.watermark.unwrap();
    assert_eq!((w.alpha, w.scale, w.offset), (0.5, 0.2, 0.1));
    let q = WebmQuery::read(&p("")).unwrap();
    assert_eq!((q.fit, q.start), (BOX, seconds(0.0)));
    assert_eq!((q.video, q.audio), (WebmVideo::Vp9, WebmAudio::Opus));
}

#[test]
fn values_are_read_as_browsers_send_them() {
    let url = p("url=http%3A%2F%2Fh%2Fa%20b%27%25%22%C3%A4.mp4%3Fx%3D1&t=5");
    assert_eq!(url.url(), Ok("http://h/a b'%\"ä.mp4?x=1"));
    for (query, wanted) in [
        ("t=50%", Position::Share(0.5)),
        ("t=50%25&width=3", Position::Share(0.5)),
        ("t=100%", Position::Share(1.0)),
        ("t=12.5", seconds(12.5)),
        ("t=0", seconds(0.0)),
        ("t=", Position::Auto),
    ] {
        assert_eq!(thumb(query).unwrap().position, wanted, "{query}");
    }
    assert_eq!(thumb("format=jpeg").unwrap().format, PictureFormat::Jpeg);
    let q = thumb("width=100&upscale=1").unwrap();
    let wanted = Fit {
        width: Some(100),
        height: None,
        upscale: true,
    };
    assert_eq!(q.fit, wanted);
    let rate = |text: &str| WebmQuery::read(&p(text)).unwrap().bitrate;
    assert_eq!(rate("bitrate=500k"), Some(Bitrate::kbit(500)));
    assert_eq!(rate("bitrate=2M"), Some(Bitrate::kbit(2000)));
    assert_eq!(rate("bitrate=256000"), Some(Bitrate::kbit(256)));
}

#[test]
fn what_cannot_be_obeyed_is_named() {
    for bad in [
        "t=-1",
        "t=+1",
        "t=1e3",
        "t=nan",
        "t=inf",
        "t=101%",
        "t=%",
        "t=1:30",
        "t=1,2",
        "t=999999",
        "width=0",
        "width=1000000000",
        "width=-1",
        "width=8193",
        "width=99999999999999999999",
        "width=10.5",
        "width=iw*2",
        "height=0",
        "height=100:flags=x",
        "quality=0",
        "quality=101",
        "alpha=1.1",
        "alpha=-0.1",
        "alpha=.5",
        "alpha=0.5[x]",
        "scale=2",
        "scale=nan",
        "offset=1.5",
        "offset=W-w",
        "format=svg",
        "format=jpg,png",
        "upscale=maybe",
        "t=1&t=2",
        "format=",
    ] {
        let name = bad.split('=').next().unwrap();
        match thumb(bad) {
            Err(error) => assert!(error.to_string().starts_with(name), "{bad}: {error}"),
            Ok(_) => assert_eq!(bad, "format=", "{bad} is taken"),
        }
    }
    let webm = |text: &str| WebmQuery::read(&p(text)).map(|_| ());
    for bad in [
        "bitrate=1",
        "bitrate=fast",
        "bitrate=99M",
        "bitrate=1M;x",
        "duration=0",
        "duration=-5",
        "video_codec=h264",
        "audio_codec=mp3",
        "width=2",
        "t=x",
    ] {
        let name = bad.split('=').next().unwrap();
        let error = webm(bad).expect_err(bad).to_string();
        assert!(error.starts_with(name), "{error}");
    }
    assert!(PreviewQuery::read(&p("frames=1")).is_err());
    assert!(PreviewQuery::read(&p("speed=0")).is_err());
    assert!(PreviewQuery::read(&p("format=avi")).is_err());
    assert!(StoryboardQuery::read(&p("interval=0.5")).is_err());
    assert!(StoryboardQuery::read(&p("columns=0")).is_err());
    assert!(MetaQuery::read(&p("fields=some")).is_err());
    assert_eq!(p("").url(), Err(ParameterError::Missing("url")));
    assert_eq!(p("url=").url(), Err(ParameterError::Missing("url")));
    assert_eq!(p("url=a&url=b").url(), Err(ParameterError::Repeated("url")));
    let long = format!("t={}", "9".repeat(8000));
    assert!(thumb(&long).unwrap_err().to_string().len() < 200);
}
