//! The replies: pure functions of the request's path and headers.

use std::borrow::Cow;
use std::fmt::Write as _;

use axum::body::{Body, Bytes};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::bundle::{self, File};

/// The player feeds the video element through `blob:` and unpacks segments in a worker.
/// Everything else comes from the gateway itself, or not at all.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; media-src 'self' blob: data:; worker-src 'self' blob:; manifest-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

/// What `/` says when the gateway was built without the page.
const NOT_BUILT: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
    <meta name=\"color-scheme\" content=\"dark light\">\n<title>GhostStream</title>\n\
    <h1>GhostStream is running</h1>\n\
    <p>This gateway was built without its page. To add it, build the page and then the gateway:</p>\n\
    <pre>cd web &amp;&amp; npm ci &amp;&amp; npm run build &amp;&amp; cd .. &amp;&amp; cargo build --release</pre>\n\
    <p>Everything else works without it.</p>\n</html>\n";

/// The reply to `GET /`.
///
/// A client that lists `text/html` in `Accept` gets the page; every other client is a probe
/// and gets `OK` as text. `if_none_match` is the header of that name.
pub fn index(accept: Option<&str>, if_none_match: Option<&str>) -> Response<Body> {
    let mut response = if accept.is_some_and(wants_html) {
        match bundle::file("index.html") {
            Some(file) => file_response("index.html", file, if_none_match),
            None => text_response(StatusCode::OK, "text/html; charset=utf-8", NOT_BUILT),
        }
    } else {
        text_response(StatusCode::OK, "text/plain; charset=utf-8", "OK")
    };
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("accept"));
    response
}

/// The reply to `GET` of a file of the page; `path` is relative to the page, without a
/// leading slash (`assets/index-1a2b3c.js`, `favicon.svg`). An unknown file is a 404 in
/// words, 304 when `if_none_match` names the file's entity tag.
pub fn asset(path: &str, if_none_match: Option<&str>) -> Response<Body> {
    match bundle::file(path) {
        Some(file) => file_response(path, file, if_none_match),
        None => text_response(
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "the page has no such file",
        ),
    }
}

/// Whether an `Accept` header lists `text/html` itself, not merely `*/*`, and does not rule
/// it out with `q=0` (RFC 9110 section 12.5.1).
fn wants_html(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|media| media.eq_ignore_ascii_case("text/html"));
        named && !parts.any(is_zero_weight)
    })
}

fn is_zero_weight(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, weight)| {
        name.trim().eq_ignore_ascii_case("q") && weight.trim().parse() == Ok(0.0_f32)
    })
}

fn file_response(path: &str, file: File, if_none_match: Option<&str>) -> Response<Body> {
    let tag = entity_tag(&file.sha256);
    // The builder puts a hash of the content into the name of everything below `assets/`.
    let caching = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let unchanged = if_none_match.is_some_and(|header| names_tag(header, &tag));
    let mut response = Response::new(if unchanged {
        Body::empty()
    } else {
        Body::from(match file.data {
            Cow::Borrowed(data) => Bytes::from_static(data),
            Cow::Owned(data) => Bytes::from(data),
        })
    });
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        set(&mut response, CONTENT_TYPE, content_type(path));
    }
    set(&mut response, CACHE_CONTROL, caching);
    set(&mut response, ETAG, &tag);
    protect(&mut response);
    response
}

fn text_response(status: StatusCode, content_type: &str, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, content_type);
    set(&mut response, CACHE_CONTROL, "no-cache");
    protect(&mut response);
    response
}

/// The headers every reply of the page carries.
fn protect(response: &mut Response<Body>) {
    set(response, CONTENT_SECURITY_POLICY, POLICY);
    set(response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Addresses of films and jobs stay with the gateway.
    set(response, REFERRER_POLICY, "no-referrer");
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn content_type(path: &str) -> &'static str {
    match mime_guess::from_path(path).first_raw() {
        Some("text/html") => "text/html; charset=utf-8",
        Some("text/css") => "text/css; charset=utf-8",
        Some("text/javascript" | "application/javascript") => "text/javascript; charset=utf-8",
        Some(other) => other,
        None => "application/octet-stream",
    }
}

/// A strong entity tag from the first 128 bits of the content's hash.
fn entity_tag(sha256: &[u8; 32]) -> String {
    let mut tag = String::from('"');
    for byte in sha256.iter().take(16) {
        // Writing to a string does not fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// Whether an `If-None-Match` header names `tag`, by weak comparison (RFC 9110 section 13.1.2).
fn names_tag(header: &str, tag: &str) -> bool {
    header.split(',').map(str::trim).any(|candidate| {
        candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == tag
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn made_up() -> File {
        File {
            data: Cow::Borrowed(b"let x;"),
            sha256: [0xab; 32],
        }
    }

    fn header(response: &Response<Body>, name: HeaderName) -> &str {
        response
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    async fn text(response: Response<Body>) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_probe_hears_ok_and_a_browser_sees_a_page() {
        for accept in [None, Some("*/*"), Some("text/html;q=0, */*")] {
            let response = index(accept, None);
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(header(&response, VARY), "accept");
            assert!(header(&response, CONTENT_TYPE).starts_with("text/plain"));
            assert_eq!(text(response).await, "OK");
        }
        let response = index(Some("application/xml;q=0.9, Text/HTML;q=0.8"), None);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, CONTENT_TYPE), "text/html; charset=utf-8");
        assert_eq!(header(&response, CACHE_CONTROL), "no-cache");
        let page = text(response).await;
        assert!(page.contains("<title>GhostStream</title>"), "{page}");
        assert_eq!(
            page.contains("npm run build"),
            bundle::names().is_empty(),
            "the page says how to build it only when it is missing"
        );
    }

    #[test]
    fn every_reply_is_protected() {
        for response in [
            index(Some("text/html"), None),
            asset("nothing.js", None),
            file_response("assets/a.js", made_up(), None),
            file_response("assets/a.js", made_up(), Some("*")),
        ] {
            let policy = header(&response, CONTENT_SECURITY_POLICY);
            assert!(policy.contains("default-src 'none'"));
            // hls.js gives text tracks an empty file of this kind.
            let others = policy.replace("media-src 'self' blob: data:", "");
            assert!(!policy.contains("unsafe") && !others.contains("data:"));
            assert_eq!(header(&response, X_CONTENT_TYPE_OPTIONS), "nosniff");
            assert_eq!(header(&response, REFERRER_POLICY), "no-referrer");
        }
    }

    #[tokio::test]
    async fn a_hashed_file_is_kept_for_ever_and_others_are_asked_for_again() {
        let response = file_response("assets/a.js", made_up(), None);
        assert_eq!(response.status(), StatusCode::OK);
        assert!(header(&response, CACHE_CONTROL).contains("immutable"));
        assert_eq!(
            header(&response, CONTENT_TYPE),
            "text/javascript; charset=utf-8"
        );
        assert_eq!(text(response).await, "let x;");
        let icon = file_response("favicon.svg", made_up(), None);
        assert_eq!(header(&icon, CACHE_CONTROL), "no-cache");
        assert_eq!(header(&icon, CONTENT_TYPE), "image/svg+xml");
    }

    #[tokio::test]
    async fn an_unchanged_file_is_not_sent_again() {
        let tag = format!("\"{}\"", "ab".repeat(16));
        let known = [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            "*".to_owned(),
        ];
        for header_value in known {
            let response = file_response("assets/a.js", made_up(), Some(&header_value));
            assert_eq!(
                response.status(),
                StatusCode::NOT_MODIFIED,
                "{header_value}"
            );
            assert_eq!(header(&response, ETAG), tag);
            assert_eq!(text(response).await, "");
        }
        let response = file_response("assets/a.js", made_up(), Some("\"other\""));
        assert_eq!(response.status(), StatusCode::OK);
    }

    #[test]
    fn what_the_page_does_not_have_is_not_found() {
        for path in [
            "",
            "assets/",
            "assets/none.js",
            "../Cargo.toml",
            "/etc/passwd",
        ] {
            assert_eq!(asset(path, None).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[tokio::test]
    async fn the_page_names_only_files_it_has() {
        let page = text(index(Some("text/html"), None)).await;
        for attribute in page.split("=\"./").skip(1) {
            let path = attribute.split('"').next().unwrap();
            assert_eq!(asset(path, None).status(), StatusCode::OK, "{path}");
        }
        assert!(!page.contains("://"), "the page names another host");
    }
}
