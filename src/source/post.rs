//! Telling another server something, under the same policy as reading from one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;
use url::Url;

use super::client::{Connector, basic_credentials, failure};
use super::error::SourceError;
use super::input_options::USER_AGENT;
use super::policy::SourcePolicy;

/// From the request to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most of an answer that is read, bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Sends JSON to other servers. Redirects are not followed: what is sent is for the one that was
/// named. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Poster {
    http: Client<HttpsConnector<Connector>, Full<Bytes>>,
}

impl Poster {
    /// https is verified against Mozilla's root certificates.
    pub fn new(policy: Arc<SourcePolicy>) -> Self {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector { policy });
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_ALIVE)
            .build(connector);
        Poster { http }
    }

    /// Posts `body`; gives the status and what is read of the answer (nothing of a long one).
    /// Cancel-safe.
    ///
    /// # Errors
    /// `BadUrl`, `Refused`, `Unreachable`, `Timeout`: no answer came.
    pub async fn json(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), SourceError> {
        let bad = || SourceError::BadUrl("it cannot be requested".to_owned());
        let mut bare = url.clone();
        bare.set_fragment(None);
        if bare.set_password(None).is_err() || bare.set_username("").is_err() {
            return Err(bad());
        }
        let uri = Uri::try_from(bare.as_str()).map_err(|_| bad())?;
        let mut request = Request::post(uri)
            .body(Full::new(body))
            .map_err(|_| bad())?;
        let sent = request.headers_mut();
        sent.extend(headers);
        sent.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        sent.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        let json = HeaderValue::from_static("application/json");
        sent.insert(header::CONTENT_TYPE, json);
        if !url.username().is_empty() || url.password().is_some() {
            sent.insert(header::AUTHORIZATION, basic_credentials(url)?);
        }
        let exchange = async {
            let answer = self.http.request(request).await;
            let answer = answer.map_err(|e| failure(&e, url.host_str().unwrap_or_default()))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES);
            let body = body.collect().await.map(|b| b.to_bytes());
            Ok((status, body.unwrap_or_default()))
        };
        let answer = timeout(TIMEOUT, exchange).await;
        answer.unwrap_or(Err(SourceError::Timeout))
    }
}
