//! Parts of a request that contain the key, and are wiped when the request is over.
//!
//! Not wiped are the copies that others make on the way: the buffers in which HTTP and TLS put a request
//! together, and the system's.

use bytes::Bytes;
use reqwest::Body;
use reqwest::header::HeaderValue;

/// A body that keeps `owner` instead of a copy of it.
pub(super) fn body(owner: impl AsRef<[u8]> + Send + 'static) -> Body {
    Body::from(Bytes::from_owner(owner))
}

/// A header's value that keeps `owner` instead of a copy of it, and that nothing prints.
pub(super) fn header(owner: impl AsRef<[u8]> + Send + 'static) -> HeaderValue {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(owner)).expect("a key is visible ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use reqwest::RequestBuilder;
    use reqwest::header::AUTHORIZATION;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A text that says when it is dropped; what is wiped on drop is wiped then.
    struct Owner(Arc<AtomicUsize>);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"the-key"
        }
    }

    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A request with a secret header and a secret body, and how many of the two are dropped.
    fn request(http: &reqwest::Client, url: &str) -> (RequestBuilder, Arc<AtomicUsize>) {
        let dropped = Arc::new(AtomicUsize::new(0));
        let request = http
            .post(url)
            .header(AUTHORIZATION, header(Owner(dropped.clone())))
            .body(body(Owner(dropped.clone())));
        (request, dropped)
    }

    fn http() -> reqwest::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .tls_certs_only([])
            .no_proxy()
            .build()
            .unwrap()
    }

    #[test]
    fn a_request_keeps_its_secrets_themselves_and_nothing_prints_them() {
        let (request, dropped) = request(&http(), "http://127.0.0.1:1");
        let request = request.build().unwrap();
        // Of a copy, the owner would be gone.
        assert_eq!(dropped.load(Ordering::SeqCst), 0);
        assert!(!format!("{request:?}").contains("the-key"), "{request:?}");
        drop(request);
        assert_eq!(dropped.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn nobody_keeps_a_secret_after_the_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let http = http();
        let (request, dropped) = request(&http, &url);
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"\r\n\r\nthe-key") {
                bytes.push(stream.read_u8().await.unwrap());
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await
                .unwrap();
            // Open, as a connection is that waits for the next request.
            stream
        };
        let (answer, _stream) = tokio::join!(request.send(), answering);
        answer.unwrap().bytes().await.unwrap();
        assert_eq!(dropped.load(Ordering::SeqCst), 2);
    }
}
