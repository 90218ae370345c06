//! The page's place among the gateway's routes.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::get;
use http::header::{ACCEPT, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, Response};

use super::respond;

/// `/`, `/assets/...` and `/favicon.svg`. They carry no secret and need no key.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/", get(index))
        .route("/favicon.svg", get(favicon))
        .route("/assets/{*path}", get(asset))
}

async fn index(headers: HeaderMap) -> Response<Body> {
    respond::index(text(&headers, ACCEPT), text(&headers, IF_NONE_MATCH))
}

async fn favicon(headers: HeaderMap) -> Response<Body> {
    respond::asset("favicon.svg", text(&headers, IF_NONE_MATCH))
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response<Body> {
    respond::asset(&format!("assets/{path}"), text(&headers, IF_NONE_MATCH))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use http::{Method, Request, StatusCode};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(method: Method, path: &str) -> Response<Body> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, "text/html")
            .body(Body::empty())
            .unwrap();
        routes::<()>().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn head_says_what_get_sends() {
        let got = ask(Method::GET, "/").await;
        let got_tag = got.headers().get("etag").cloned();
        let length = got.into_body().collect().await.unwrap().to_bytes().len();
        let head = ask(Method::HEAD, "/").await;
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(head.headers()["content-length"], length.to_string());
        assert_eq!(head.headers().get("etag").cloned(), got_tag);
        assert!(
            head.into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn unknown_files_are_not_found_and_posts_not_allowed() {
        assert_eq!(
            ask(Method::GET, "/assets/..%2findex.html").await.status(),
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            ask(Method::POST, "/").await.status(),
            StatusCode::METHOD_NOT_ALLOWED
        );
    }
}
