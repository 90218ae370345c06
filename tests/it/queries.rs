//! Media queries over the whole gateway: `/thumb` and its like.

mod answers;
mod limits;
mod refusals;
mod remote;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::app::{Answer, TestApp, ffmpeg};

/// A query's value in a URL.
fn quoted(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn ask(app: &TestApp, endpoint: &str, source: &str, more: &str) -> Answer {
    let path = format!("/{endpoint}?url={}{more}", quoted(source));
    app.get(&path).await
}

/// The answer's body; fails unless it is a 200.
async fn body(app: &TestApp, endpoint: &str, source: &str, more: &str) -> Bytes {
    let answer = ask(app, endpoint, source, more).await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "{source}{more}: {}",
        answer.text()
    );
    answer.body
}

async fn head(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Answer {
    app.request(Method::HEAD, path, headers, Bytes::new()).await
}

/// Makes `name` in `folder`.
fn make(folder: &Path, name: &str, args: &str) -> PathBuf {
    let path = folder.join(name);
    let mut all: Vec<&str> = args.split_whitespace().collect();
    all.push(path.to_str().unwrap());
    ffmpeg(&all);
    path
}

/// A film whose brightness tells the second: 20 more for each. `more` are further inputs and options.
fn clock(folder: &Path, name: &str, seconds: u32, more: &str) -> String {
    let source = format!(
        "nullsrc=s=320x180:r=25:d={seconds},format=gray,geq=lum=20+20*floor(T),format=yuv420p"
    );
    let args = format!("-f lavfi -i {source} {more} -c:v libx264");
    let path = make(folder, name, &args);
    path.to_str().unwrap().to_owned()
}

/// A picture decoded to RGB, with its size.
struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Picture {
    fn of(data: &[u8]) -> Picture {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture");
        std::fs::write(&path, data).unwrap();
        let args = [
            "-i",
            path.to_str().unwrap(),
            "-frames:v",
            "1",
            "-f",
            "image2pipe",
        ];
        let ppm = ffmpeg(&[&args[..], &["-c:v", "ppm", "-"]].concat());
        let mut fields = ppm.splitn(4, |b| b.is_ascii_whitespace());
        let mut number = || {
            let field = fields.next().unwrap();
            String::from_utf8_lossy(field).parse::<usize>()
        };
        number().unwrap_err();
        let (width, height) = (number().unwrap(), number().unwrap());
        let rgb = ppm[ppm.len() - 3 * width * height..].to_vec();
        Picture { width, height, rgb }
    }

    fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The colour at a place given in shares of width and height.
    fn at(&self, x: f64, y: f64) -> [u8; 3] {
        let column = (x * self.width as f64) as usize;
        let row = (y * self.height as f64) as usize;
        let at = 3 * (row * self.width + column);
        self.rgb[at..at + 3].try_into().unwrap()
    }
}

#[track_caller]
fn assert_color(found: [u8; 3], wanted: [u8; 3], what: &str) {
    let far = found.iter().zip(wanted).any(|(a, b)| a.abs_diff(b) > 24);
    assert!(!far, "{what}: {found:?} is not {wanted:?}");
}

/// The second that a picture of [`clock`] shows.
fn second(picture: &Picture) -> f64 {
    (f64::from(picture.at(0.5, 0.5)[1]) - 20.0) / 20.0
}

/// What ffprobe says of a file's content.
fn entries(data: &[u8], what: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, data).unwrap();
    let args = [
        "-v",
        "error",
        "-count_frames",
        "-show_entries",
        what,
        "-of",
        "compact=p=0",
    ];
    let (text, _) = crate::media::run("ffprobe", &[&args[..], &[path.to_str().unwrap()]].concat());
    String::from_utf8(text).unwrap()
}
