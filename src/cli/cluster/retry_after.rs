//! The `Retry-After` of kube-apiserver. kube reads nothing of an error but its body, and the body of a 429 of priority
//! and fairness is a plain text. So `Retry-After` is written into the body, where a Status has a field for it.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Body;
use serde_json::{Value, json};
use tower::BoxError;

/// Longest body of a refusal that is read. It is a text or a Status.
const BODY_BYTES: usize = 64 << 10;

/// The same response, or a refusal whose body has the `Retry-After` of kube-apiserver.
pub(super) async fn into_body<B>(response: Response<B>) -> Result<Response<Either<Full<Bytes>, B>>, BoxError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let refuses = matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let said = response.headers().get(RETRY_AFTER).filter(|_| refuses);
    let Some(seconds) = said.and_then(|said| said.to_str().ok()?.trim().parse::<u32>().ok()) else {
        return Ok(response.map(Either::Right));
    };
    let (mut parts, body) = response.into_parts();
    let body = Limited::new(body, BODY_BYTES).collect().await?.to_bytes();
    let status = with_seconds(&body, parts.status, seconds).to_string();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Response::from_parts(parts, Either::Left(Full::from(status))))
}

/// A Status with this field.
fn with_seconds(body: &[u8], code: StatusCode, seconds: u32) -> Value {
    let read = serde_json::from_slice(body).ok().filter(Value::is_object);
    let mut status = read.unwrap_or_else(|| {
        let message = String::from_utf8_lossy(body);
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(), "message": message.trim()})
    });
    if !status["details"].is_object() {
        status["details"] = json!({});
    }
    status["details"]["retryAfterSeconds"] = seconds.into();
    status
}

#[cfg(test)]
mod tests {
    use http::Request;
    use kube::client::{Body as KubeBody, ClientBuilder};
    use tower::ServiceBuilder;

    use super::*;

    /// How a request fails that is answered so.
    async fn failure(code: u16, retry_after: Option<&'static str>, body: &str) -> kube::core::Status {
        let body = body.to_owned();
        let service = tower::service_fn(move |_: Request<KubeBody>| {
            let mut response = Response::builder().status(code).header(CONTENT_LENGTH, body.len());
            if let Some(seconds) = retry_after {
                response = response.header(RETRY_AFTER, seconds);
            }
            let response = response.body(Full::<Bytes>::from(body.clone())).map_err(BoxError::from);
            async move { response }
        });
        let service = ServiceBuilder::new().and_then(into_body).service(service);
        let client = ClientBuilder::new(service, "default").build();
        match client.request_text(Request::get("/version").body(Vec::new()).unwrap()).await.unwrap_err() {
            kube::Error::Api(status) => *status,
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn an_error_of_kube_has_the_header() {
        let text = "Too many requests, please try again later.\n";
        let status = json!({"kind": "Status", "code": 429, "message": "later", "details": {"name": "web"}}).to_string();
        let odd = json!({"kind": "Status", "code": 503, "message": "later", "details": "none"}).to_string();
        for (code, header, body, message, seconds) in [
            (429, Some("1"), text, text.trim(), Some(1)),
            (503, Some("7"), "", "", Some(7)),
            (429, Some("7"), &status, "later", Some(7)),
            (503, Some("7"), &odd, "later", Some(7)),
            (429, None, text, text.trim(), None),
            (429, Some("soon"), text, text.trim(), None),
            (429, Some("-1"), text, text.trim(), None),
            (500, Some("7"), text, text.trim(), None),
        ] {
            let failed = failure(code, header, body).await;
            let told = failed.details.as_ref().map(|details| details.retry_after_seconds);
            assert_eq!((failed.code, failed.message.as_str(), told), (code, message, seconds), "{header:?} {body}");
        }
        let kept = failure(429, Some("7"), &status).await.details.unwrap();
        assert_eq!(kept.name, "web");
    }
}
