//! Absolute addresses of a job's files, and the tokens with which a keyed gateway signs them.
//!
//! Browsers, TVs and players cannot send a key with what they fetch. So addresses that are handed out
//! carry a token for one job, and playlists hand it on to everything they name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::base::{JobId, QueueId};

use super::peertube;

/// The query parameter, as the original names it.
pub(super) const TOKEN_PARAMETER: &str = "gst";
/// Bytes of the signature that are kept: 128 bits cannot be guessed, and every segment's line has it.
const SIGNATURE_BYTES: usize = 16;

/// Signs addresses, and checks them.
#[derive(Clone)]
pub struct Signer {
    key: hmac::Key,
    lifetime_seconds: u64,
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadToken {
    /// Not ours, or another job's.
    Forged,
    Expired,
}

impl Signer {
    /// `secret` is nobody else's. A token lives for `lifetime`, at least a second.
    pub fn new(secret: &[u8], lifetime: Duration) -> Signer {
        // A key of its own: the secret signs other things too.
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let own = hmac::sign(&root, b"ghoststream: addresses of files");
        Signer {
            key: hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()),
            lifetime_seconds: lifetime.as_secs().max(1),
        }
    }

    fn signature(&self, job: impl fmt::Display, expiry: u64) -> [u8; SIGNATURE_BYTES] {
        let tag = hmac::sign(&self.key, format!("{job}\0{expiry}").as_bytes());
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(&tag.as_ref()[..SIGNATURE_BYTES]);
        signature
    }

    /// A token for the files of `job` at `now`, seconds since 1970. The same one for a while, so that
    /// addresses and playlists do not change with every answer.
    pub(super) fn token(&self, job: impl fmt::Display, now: u64) -> String {
        let step = (self.lifetime_seconds / 24).max(1);
        let expiry = (now + self.lifetime_seconds).div_ceil(step) * step;
        let signature = URL_SAFE_NO_PAD.encode(self.signature(job, expiry));
        format!("{expiry:x}.{signature}")
    }

    pub(super) fn check(
        &self,
        token: &str,
        job: impl fmt::Display,
        now: u64,
    ) -> Result<(), BadToken> {
        let (expiry, signature) = token.split_once('.').ok_or(BadToken::Forged)?;
        let expiry = u64::from_str_radix(expiry, 16).map_err(|_| BadToken::Forged)?;
        let given = URL_SAFE_NO_PAD.decode(signature);
        let given = given.map_err(|_| BadToken::Forged)?;
        constant_time::verify_slices_are_equal(&given, &self.signature(job, expiry))
            .map_err(|_| BadToken::Forged)?;
        if expiry < now {
            return Err(BadToken::Expired);
        }
        Ok(())
    }
}

/// Makes the absolute addresses of one job's files.
#[derive(Debug, Clone)]
pub(super) struct Links {
    /// `http://host:port`, without a trailing slash.
    pub(super) base: String,
    /// On a keyed gateway.
    pub(super) token: Option<String>,
}

impl Links {
    /// `path` begins with a slash.
    pub(super) fn to(&self, path: &str) -> String {
        let url = format!("{}{path}", self.base);
        match &self.token {
            Some(token) => with_token(&url, token),
            None => url,
        }
    }
}

fn with_token(uri: &str, token: &str) -> String {
    let glue = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{glue}{TOKEN_PARAMETER}={token}")
}

/// A playlist in which every URI carries `token`: lines of their own, and `URI="..."` of tags
/// (RFC 8216 sections 4.1 and 4.2).
pub(super) fn carry(playlist: &str, token: &str) -> String {
    const ATTRIBUTE: &str = "URI=\"";
    let mut out = String::with_capacity(playlist.len() * 2);
    for line in playlist.split_inclusive('\n') {
        let text = line.trim_end_matches(['\r', '\n']);
        let ending = &line[text.len()..];
        if text.is_empty() {
        } else if !text.starts_with('#') {
            out.push_str(&with_token(text, token));
        } else {
            let mut rest = text;
            while let Some(at) = rest.find(ATTRIBUTE) {
                let (before, after) = rest.split_at(at + ATTRIBUTE.len());
                let uri = after.split('"').next().unwrap_or_default();
                out.push_str(before);
                out.push_str(&with_token(uri, token));
                rest = &after[uri.len()..];
            }
            out.push_str(rest);
        }
        out.push_str(ending);
    }
    out
}

/// The job whose file `path` names, if it is one.
pub(super) fn job_of_file(path: &str) -> Option<QueueId> {
    let first = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
    if let Some(video) = peertube::video_of_file(path) {
        return QueueId::from_str(video).ok();
    }
    if let Some(rest) = path.strip_prefix(ARTIFACTS) {
        return QueueId::from_str(&first(rest)).ok();
    }
    let rest = path
        .strip_prefix("/stream/")
        .or_else(|| path.strip_prefix("/download/"))?;
    let id = JobId::from_str(&first(rest)).ok()?;
    Some(id.into())
}

/// Below it lie the results of queued work, as `JOB/FILE`.
pub(super) const ARTIFACTS: &str = "/api/v2/artifacts/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_for_one_job_and_for_a_time() {
        let day = Signer::new(b"secret", Duration::from_secs(86_400));
        let (job, now) = (JobId::random(), 1_700_000_000);
        let token = day.token(job, now);
        assert_eq!(day.check(&token, job, now), Ok(()));
        assert_eq!(day.check(&token, job, now + 86_400), Ok(()));
        assert_eq!(day.token(job, now + 60), token, "the same for a while");
        let late = day.check(&token, job, now + 86_400 + 3_601);
        assert_eq!(late, Err(BadToken::Expired));
        assert_eq!(
            day.check(&token, JobId::random(), now),
            Err(BadToken::Forged)
        );
        let other = Signer::new(b"another", Duration::from_secs(86_400));
        assert_eq!(other.check(&token, job, now), Err(BadToken::Forged));
        let (expiry, signature) = token.split_once('.').unwrap();
        let longer = format!("{expiry}0.{signature}");
        for forged in ["", ".", "x.y", &longer, &token[..token.len() - 1], expiry] {
            assert_eq!(
                day.check(forged, job, now),
                Err(BadToken::Forged),
                "{forged}"
            );
        }
    }

    #[test]
    fn playlists_hand_the_token_on() {
        let playlist = "#EXTM3U\r\n#EXT-X-MAP:URI=\"init.mp4\",BYTERANGE=\"1@0\"\r\n\
            #EXT-X-MEDIA:TYPE=AUDIO,NAME=\"a\",URI=\"a.m3u8?x=1\",DEFAULT=YES\n\
            #EXTINF:4.0,\nsegment_00000.ts\n\n#EXT-X-ENDLIST";
        let wanted = "#EXTM3U\r\n#EXT-X-MAP:URI=\"init.mp4?gst=T\",BYTERANGE=\"1@0\"\r\n\
            #EXT-X-MEDIA:TYPE=AUDIO,NAME=\"a\",URI=\"a.m3u8?x=1&gst=T\",DEFAULT=YES\n\
            #EXTINF:4.0,\nsegment_00000.ts?gst=T\n\n#EXT-X-ENDLIST";
        assert_eq!(carry(playlist, "T"), wanted);
    }

    #[test]
    fn files_belong_to_jobs() {
        let id = JobId::random();
        for path in [format!("/stream/{id}/a.ts"), format!("/download/{id}")] {
            assert_eq!(job_of_file(&path), Some(id.into()));
        }
        let counted = job_of_file("/api/v2/artifacts/17_0/output.mp4");
        assert_eq!(counted, "17_0".parse().ok());
        for path in ["/stream/x/a.ts", "/api/stream/", "/stream/"] {
            assert_eq!(job_of_file(path), None);
        }
        assert_eq!(job_of_file(&format!("/api/transcode/{id}/status")), None);
    }
}
