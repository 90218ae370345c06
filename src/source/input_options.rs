//! What keeps ffmpeg to the one source that it was given.

use std::ffi::OsString;

use crate::media::{LocalFile, SourceLocator};

/// How this gateway names itself to the servers that it reads from.
pub const USER_AGENT: &str = concat!("GhostStream/", env!("CARGO_PKG_VERSION"));

/// Containers and elementary streams that hold everything they need. Left out on purpose is every
/// demuxer that opens what its data names (hls, dash, concat, sdp, rtsp, imf, vobsub, image
/// sequences, avisynth), reads a device, or shows arbitrary bytes as a picture (tty, text art, raw).
/// Names that a build of ffmpeg does not know are ignored by it.
const CONTAINERS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,avi,flv,live_flv,kux,\
asf,asf_o,ogg,mxf,gxf,lxf,nut,nuv,nsv,pva,rm,wtv,dv,vivo,ivf,obu,av1,h261,h263,h264,hevc,vvc,evc,\
apv,m4v,mpegvideo,vc1,vc1test,cavsvideo,avs2,avs3,dirac,dnxhd,mjpeg,smjpeg,yuv4mpegpipe,gif,apng,\
aac,ac3,ac4,eac3,amr,amrnb,amrwb,aiff,ape,au,caf,dts,dtshd,flac,iamf,loas,mlp,mp3,mpc,mpc8,oma,\
sox,tak,truehd,tta,voc,w64,wav,wv,xwma,srt,ass,webvtt,sup";

/// No byte for this long ends a read. Longer than the gate waits for the same byte, so that the
/// gate sees and reports the cause.
const READ_TIMEOUT_US: &str = "25000000";

/// Reconnects wait 0 and 1 second; ffmpeg gives up when the next wait, of 3, would exceed this. It
/// does so for each of several reads, and runs that end early are started anew.
const RECONNECT_DELAY_MAX_S: &str = "2";

/// How ffmpeg or ffprobe is given a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputOptions {
    /// Input options, to stand before `-i` (ffmpeg) or before the URL (ffprobe).
    pub args: Vec<OsString>,
    /// The argument of `-i`. Holds credentials and server paths.
    pub url: OsString,
    /// Variables to set for the process.
    pub env: Vec<(&'static str, OsString)>,
    /// Variables that the process must not inherit; apply before `env`.
    pub env_remove: &'static [&'static str],
}

/// Options under which `source` cannot make ffmpeg read any other file, nor speak any protocol
/// that its own kind does not need.
///
/// `proxy` is the `proxy_url` of the run's [`super::Gate`]. Without one, ffmpeg connects by
/// itself, and nothing holds its redirects and playlists against the policy.
pub fn ffmpeg_input_options(source: &SourceLocator, proxy: Option<&str>) -> InputOptions {
    let (protocols, formats, extra): (&str, String, Vec<&str>) = match source {
        SourceLocator::File(_) => ("file", CONTAINERS.to_owned(), vec![]),
        SourceLocator::Http(_) => (
            "http,https,httpproxy,tls,tcp,crypto,data",
            format!("{CONTAINERS},hls,dash"),
            vec![
                "-rw_timeout",
                READ_TIMEOUT_US,
                "-reconnect",
                "1",
                "-reconnect_delay_max",
                RECONNECT_DELAY_MAX_S,
                "-user_agent",
                USER_AGENT,
            ],
        ),
        SourceLocator::Live(url) => match url.scheme() {
            // Over TCP: nothing is received on a port of this machine.
            "rtsp" => (
                "tcp",
                "rtsp".to_owned(),
                vec!["-rtsp_transport", "tcp", "-timeout", READ_TIMEOUT_US],
            ),
            "rtsps" => (
                "tls,tcp,httpproxy",
                "rtsp".to_owned(),
                vec!["-rtsp_transport", "tcp", "-timeout", READ_TIMEOUT_US],
            ),
            "srt" => (
                "srt",
                CONTAINERS.to_owned(),
                vec!["-timeout", READ_TIMEOUT_US],
            ),
            "rtmps" => (
                "rtmps,tls,tcp,httpproxy",
                CONTAINERS.to_owned(),
                vec!["-rw_timeout", READ_TIMEOUT_US],
            ),
            _ => (
                "rtmp,tcp",
                CONTAINERS.to_owned(),
                vec!["-rw_timeout", READ_TIMEOUT_US],
            ),
        },
    };
    let mut args: Vec<OsString> = vec![
        "-protocol_whitelist".into(),
        protocols.into(),
        "-format_whitelist".into(),
        formats.into(),
    ];
    args.extend(extra.into_iter().map(OsString::from));
    let url = match source {
        SourceLocator::File(f) => {
            let mut url = OsString::from("file:");
            url.push(f.path());
            url
        }
        SourceLocator::Http(u) | SourceLocator::Live(u) => u.as_str().into(),
    };
    let env = match (source, proxy) {
        (SourceLocator::Http(_) | SourceLocator::Live(_), Some(proxy)) => {
            vec![("http_proxy", proxy.into())]
        }
        _ => vec![],
    };
    InputOptions {
        args,
        url,
        env,
        env_remove: &[
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "no_proxy",
            "NO_PROXY",
        ],
    }
}

/// Options under which ffmpeg reads the local file `picture`, which begins with `start`, as one
/// picture and nothing else. `None` when it is none of PNG, JPEG, WebP, GIF and BMP.
///
/// The format follows from the content, never from the name: ffmpeg's readers of numbered files and
/// of SVG would open others.
pub fn picture_input_options(picture: &LocalFile, start: &[u8]) -> Option<InputOptions> {
    const KINDS: [(&[u8], &str); 6] = [
        (b"\x89PNG\r\n\x1a\n", "png_pipe"),
        (b"\xff\xd8\xff", "jpeg_pipe"),
        (b"RIFF", "webp_pipe"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"BM", "bmp_pipe"),
    ];
    let (_, format) = KINDS.iter().find(|(magic, _)| start.starts_with(magic))?;
    if *format == "webp_pipe" && start.get(8..12) != Some(b"WEBP") {
        return None;
    }
    let mut url = OsString::from("file:");
    url.push(picture.path());
    let args = ["-protocol_whitelist", "file", "-f", format];
    Some(InputOptions {
        args: args.into_iter().map(OsString::from).collect(),
        url,
        env: vec![],
        env_remove: &[],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn args(o: &InputOptions) -> String {
        o.args
            .iter()
            .map(|a| a.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn a_file_is_only_a_file() {
        let f = LocalFile::new(Path::new("/r"), "/r/-i.mp4".into()).unwrap();
        let o = ffmpeg_input_options(&SourceLocator::File(f), Some("http://127.0.0.1:1"));
        assert!(args(&o).starts_with("-protocol_whitelist file -format_whitelist mov,"));
        assert_eq!(o.url, "file:/r/-i.mp4");
        assert!(o.env.is_empty());
        let formats: Vec<&str> = CONTAINERS.split(',').collect();
        for never in [
            "hls", "dash", "concat", "sdp", "rtsp", "image2", "vobsub", "tty", "imf",
        ] {
            assert!(!formats.contains(&never), "{never}");
        }
        assert!(formats.iter().all(|f| f.trim() == *f && !f.is_empty()));
    }

    #[test]
    fn a_watermark_is_what_its_bytes_say() {
        let f = LocalFile::new(Path::new("/r"), "/r/x%03d.svg".into()).unwrap();
        let o = picture_input_options(&f, b"\x89PNG\r\n\x1a\n....").unwrap();
        assert_eq!(args(&o), "-protocol_whitelist file -f png_pipe");
        assert_eq!(o.url, "file:/r/x%03d.svg");
        for no in [&b"<svg xmlns="[..], b"RIFF1234AVI ", b"#EXTM3U", b""] {
            assert_eq!(picture_input_options(&f, no), None);
        }
    }

    #[test]
    fn http_goes_through_the_gate_and_never_to_files() {
        let u = url::Url::parse("https://u:p@h/x.m3u8").unwrap();
        let o = ffmpeg_input_options(&SourceLocator::Http(u), Some("http://127.0.0.1:1"));
        assert_eq!(o.env, [("http_proxy", "http://127.0.0.1:1".into())]);
        assert!(o.env_remove.contains(&"no_proxy"));
        assert!(!args(&o).split([' ', ',']).any(|w| w == "file"));
        assert_eq!(o.url, "https://u:p@h/x.m3u8");
    }
}
