//! What is there already, whole or the part of it that a client asks for (RFC 9110 sections 13 and 14):
//! the one way in which finished bytes are answered.

use std::convert::Infallible;
use std::ops::Range;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// The range that was asked for begins behind the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsatisfiable;

/// What a client has, and how much of the rest it asks for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Asked {
            method: parts.method.clone(),
            headers: parts.headers.clone(),
        })
    }
}

/// Finished bytes, wherever they lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finished<'a> {
    pub(super) length: u64,
    /// Entity tag in quotes; without one, clients cannot ask whether it has changed.
    pub(super) tag: Option<&'a str>,
}

impl Asked {
    /// Whether the client has what `tag` names (section 13.1.2; the comparison is weak).
    pub(super) fn has(&self, tag: &str) -> bool {
        let lists = self.headers.get_all(header::IF_NONE_MATCH).iter();
        let tags = lists
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','));
        let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        tags.map(strong).any(|t| t == "*" || t == strong(tag))
    }

    /// The range, unless the client has a part of something else (section 13.1.5), or asks for the head
    /// only (section 14.2).
    fn range(&self, tag: Option<&str>) -> Option<&HeaderValue> {
        let same = match self.headers.get(header::IF_RANGE) {
            // Dates are of no use here: nothing has one.
            Some(condition) => tag.is_some_and(|tag| !tag.starts_with("W/") && condition == tag),
            None => true,
        };
        let range = self.headers.get(header::RANGE);
        range.filter(|_| same && self.method == Method::GET)
    }
}

/// Answers with `whole` or a part of it, which `read` gives; says when the client has it already.
///
/// # Errors
/// Those of `read`. A range behind the end is an answer, in the shape of `E`.
pub(super) async fn answer<E>(
    asked: &Asked,
    whole: Finished<'_>,
    read: impl AsyncFnOnce(Range<u64>) -> Result<Body, E>,
) -> Result<Response, E>
where
    E: From<Unsatisfiable> + IntoResponse,
{
    let Finished { length, tag } = whole;
    let part = part(asked.range(tag), length);
    let mut response = match part {
        _ if tag.is_some_and(|tag| asked.has(tag)) => StatusCode::NOT_MODIFIED.into_response(),
        Part::Unsatisfiable => {
            let mut response = E::from(Unsatisfiable).into_response();
            put(
                &mut response,
                header::CONTENT_RANGE,
                &format!("bytes */{length}"),
            );
            return Ok(response);
        }
        Part::All | Part::Bytes(..) => {
            let (status, range) = match part {
                Part::Bytes(first, last) => (StatusCode::PARTIAL_CONTENT, first..last + 1),
                _ => (StatusCode::OK, 0..length),
            };
            let body = match asked.method {
                Method::HEAD => Body::empty(),
                _ => read(range.clone()).await?,
            };
            let mut response = (status, body).into_response();
            let size = HeaderValue::from(range.end - range.start);
            response.headers_mut().insert(header::CONTENT_LENGTH, size);
            if status == StatusCode::PARTIAL_CONTENT {
                let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                put(&mut response, header::CONTENT_RANGE, &text);
            }
            response
        }
    };
    put(&mut response, header::ACCEPT_RANGES, "bytes");
    if let Some(tag) = tag {
        put(&mut response, header::ETAG, tag);
    }
    Ok(response)
}

/// [`answer`] with bytes that are in memory.
pub(super) async fn bytes<E>(asked: &Asked, whole: Bytes, tag: Option<&str>) -> Result<Response, E>
where
    E: From<Unsatisfiable> + IntoResponse,
{
    let length = whole.len() as u64;
    let read = async |range: Range<u64>| {
        let part = whole.slice(range.start as usize..range.end as usize);
        Ok(Body::from(part))
    };
    answer(asked, Finished { length, tag }, read).await
}

fn put(response: &mut Response, name: HeaderName, value: &str) {
    // Ours are all of plain ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The part of a representation that a Range header asks for (section 14.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// No range, a malformed one or several: everything.
    All,
    /// First and last byte, inclusive.
    Bytes(u64, u64),
    Unsatisfiable,
}

fn part(range: Option<&HeaderValue>, length: u64) -> Part {
    let parsed = range
        .and_then(|r| r.to_str().ok())
        .and_then(|r| r.strip_prefix("bytes="));
    let Some((first, last)) = parsed.and_then(|r| r.split_once('-')) else {
        return Part::All;
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return Part::All;
    }
    let end = length.saturating_sub(1);
    // Numbers beyond the type lie beyond every end.
    let number = |s: &str| (!s.is_empty()).then(|| s.parse::<u64>().unwrap_or(u64::MAX));
    match (number(first), number(last)) {
        (Some(a), Some(b)) if b < a => Part::All,
        (Some(a), _) if a >= length => Part::Unsatisfiable,
        (Some(a), Some(b)) => Part::Bytes(a, b.min(end)),
        (Some(a), None) => Part::Bytes(a, end),
        (None, Some(0)) => Part::Unsatisfiable,
        (None, Some(_)) if length == 0 => Part::Unsatisfiable,
        (None, Some(n)) => Part::Bytes(length.saturating_sub(n), end),
        (None, None) => Part::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_rfc_9110() {
        let of = |text: &'static str| part(Some(&HeaderValue::from_static(text)), 100);
        assert_eq!(of("bytes=0-9"), Part::Bytes(0, 9));
        assert_eq!(of("bytes=90-"), Part::Bytes(90, 99));
        assert_eq!(of("bytes=90-1000"), Part::Bytes(90, 99));
        assert_eq!(of("bytes=-10"), Part::Bytes(90, 99));
        assert_eq!(of("bytes=-1000"), Part::Bytes(0, 99));
        assert_eq!(of("bytes=100-"), Part::Unsatisfiable);
        assert_eq!(of("bytes=-0"), Part::Unsatisfiable);
        let beyond = "bytes=99999999999999999999999-99999999999999999999999";
        assert_eq!(of(beyond), Part::Unsatisfiable);
        assert_eq!(of("bytes=90-99999999999999999999999"), Part::Bytes(90, 99));
        for all in [
            "bytes=9-0",
            "bytes=a-b",
            "items=0-1",
            "bytes=0-1,5-6",
            "bytes=-",
            "bytes=--5",
        ] {
            assert_eq!(of(all), Part::All, "{all}");
        }
        assert_eq!(part(None, 100), Part::All);
    }

    #[test]
    fn conditions_decide_before_ranges() {
        let asked = |pairs: &[(HeaderName, &'static str)], method: &Method, tag: Option<&str>| {
            let pairs = pairs.iter().cloned();
            let headers: HeaderMap = pairs
                .map(|(n, v)| (n, HeaderValue::from_static(v)))
                .collect();
            let asked = Asked {
                method: method.clone(),
                headers,
            };
            (
                asked.range(tag).is_some(),
                tag.is_some_and(|t| asked.has(t)),
            )
        };
        let (range, tag) = ((header::RANGE, "bytes=0-1"), Some("\"a\""));
        let if_range = |value| [range.clone(), (header::IF_RANGE, value)];
        let get = &Method::GET;
        assert_eq!(asked(&if_range("\"a\""), get, tag), (true, false));
        assert_eq!(asked(&if_range("\"b\""), get, tag), (false, false));
        assert_eq!(asked(&if_range("W/\"a\""), get, tag), (false, false));
        assert_eq!(
            asked(&if_range("W/\"a\""), get, Some("W/\"a\"")),
            (false, false)
        );
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(asked(&if_range(date), get, tag), (false, false));
        assert_eq!(asked(&if_range("\"a\""), get, None), (false, false));
        assert_eq!(asked(&[range.clone()], get, None), (true, false));
        assert_eq!(asked(&[range.clone()], &Method::HEAD, tag), (false, false));
        for (list, has) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("*", true),
            ("\"x\", W/\"a\"", true),
            ("\"x\"", false),
            ("a", false),
        ] {
            let given = [(header::IF_NONE_MATCH, list)];
            assert_eq!(asked(&given, get, tag), (false, has), "{list}");
        }
    }
}
