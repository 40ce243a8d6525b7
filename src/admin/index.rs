//! `/` of the admin port: which pages it has.

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, header};
use maud::{DOCTYPE, html};

use super::status::wants_html;

/// A path of this port, and what it shows.
type Page = (&'static str, &'static str);

const STATUS: Page = ("/status", "sources, what HPAs are served, problems; JSON for programs");
const PAGES: [Page; 3] = [
    ("/readyz?verbose", "the checks, and what to do about those that fail"),
    ("/livez?verbose", "whether the process responds"),
    ("/metrics", "Prometheus metrics"),
];

/// `/` of a port that has the probes and the metrics, and with this flag also `/status`.
pub fn index(has_status: bool) -> Router {
    Router::new().route("/", get(async move |headers: HeaderMap| show(has_status, &headers)))
}

fn show(has_status: bool, headers: &HeaderMap) -> Response {
    let pages = || has_status.then_some(STATUS).into_iter().chain(PAGES);
    if !wants_html(headers) {
        return pages().map(|(path, shows)| format!("{path}  {shows}\n")).collect::<String>().into_response();
    }
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "depthgauge" }
                link rel="icon" href="data:,";
            }
            body {
                h1 { "depthgauge" }
                ul { @for (path, shows) in pages() { li { a href=(path) { (path) } ": " (shows) } } }
            }
        }
    };
    let policy = HeaderValue::from_static("default-src 'none'; img-src data:; frame-ancestors 'none'");
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, policy)], page.into_string()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn page(has_status: bool, accept: &str) -> String {
        let request = Request::get("/").header(header::ACCEPT, accept).body(Body::empty()).unwrap();
        let response = index(has_status).oneshot(request).await.unwrap();
        String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn it_links_to_what_the_port_has() {
        let html = page(true, "text/html").await;
        for (path, _) in PAGES.into_iter().chain([STATUS]) {
            assert!(html.contains(&format!("<a href=\"{path}\">")), "{html}");
        }
        assert!(!page(false, "text/html").await.contains("/status"));
        assert!(page(true, "*/*").await.starts_with("/status  sources"));
        assert!(page(false, "*/*").await.starts_with("/readyz?verbose  the checks"));
    }
}
