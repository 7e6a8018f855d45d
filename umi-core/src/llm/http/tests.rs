use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, oneshot},
};
use wiremock::{Mock, MockServer, Respond, ResponseTemplate, matchers::method};

use super::*;
use crate::world::SeededIds;

const KEY: &str = "sk-very-secret-0123456789";

/// A clock whose time passes as soon as somebody waits for it, and that keeps the waits.
#[derive(Debug)]
struct Skipping {
    now: Mutex<Timestamp>,
    waits: Mutex<Vec<Duration>>,
}

impl Skipping {
    fn new() -> Arc<Self> {
        let start = "2026-01-01T00:00:00Z".parse().unwrap();
        Arc::new(Self { now: Mutex::new(start), waits: Mutex::default() })
    }

    fn waits(&self) -> Vec<Duration> {
        self.waits.lock().clone()
    }
}

impl Clock for Skipping {
    fn now(&self) -> Timestamp {
        *self.now.lock()
    }

    fn wait_until(&self, time: Timestamp) -> BoxFuture<'static, ()> {
        let mut now = self.now.lock();
        self.waits.lock().push(Duration::try_from(time.duration_since(*now)).unwrap());
        *now = time;
        Box::pin(async {})
    }
}

fn service(url: &str, options: HttpOptions) -> (Service, Arc<Skipping>) {
    let clock = Skipping::new();
    let service = Service::new("anthropic", url, ("x-api-key", ""), KEY, options).unwrap();
    (service.with_world(clock.clone(), Arc::new(SeededIds::new(1))), clock)
}

fn ok() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"ok": true}))
}

async fn serve(answers: Vec<ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    let last = answers.len() - 1;
    for (place, answer) in answers.into_iter().enumerate() {
        let mock = Mock::given(method("POST")).respond_with(answer).with_priority(u8::try_from(place + 1).unwrap());
        mock.up_to_n_times(if place == last { u64::MAX } else { 1 }).mount(&server).await;
    }
    server
}

fn short(milliseconds: u64) -> HttpOptions {
    HttpOptions::default().with_timeout(Duration::from_millis(milliseconds)).unwrap().with_max_retries(0).unwrap()
}

async fn post(service: &Service) -> Result<Reply> {
    service.post("v1/messages", &json!({"model": "m"})).await
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_as_long_as_it_says() {
    let server = serve(vec![ResponseTemplate::new(429).insert_header("retry-after", "7"), ok()]).await;
    let (service, clock) = service(&server.uri(), HttpOptions::default());
    let reply = post(&service).await.unwrap();
    assert_eq!((reply.status, reply.requests), (200, 2));
    let [wait] = clock.waits()[..] else { panic!("{:?}", clock.waits()) };
    assert!(wait >= Duration::from_secs(7) && wait < Duration::from_secs(8), "{wait:?}");
}

#[tokio::test]
async fn a_wait_until_a_date_is_one_too() {
    let dated = ResponseTemplate::new(503).insert_header("retry-after", "Thu, 01 Jan 2026 00:00:30 GMT");
    let server = serve(vec![dated, ok()]).await;
    let (service, clock) = service(&server.uri(), HttpOptions::default());
    post(&service).await.unwrap();
    assert!(clock.waits()[0] >= Duration::from_secs(30) && clock.waits()[0] < Duration::from_secs(31));
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_left_to_the_caller() {
    let body = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}});
    let limited = ResponseTemplate::new(429)
        .insert_header("retry-after", "3600")
        .insert_header("request-id", "req_1")
        .set_body_json(body);
    let server = serve(vec![limited]).await;
    let (service, clock) = service(&server.uri(), HttpOptions::default());
    let reply = post(&service).await.unwrap();
    assert_eq!((reply.requests, clock.waits().len()), (1, 0));
    let error = service.refused(&reply);
    assert_eq!(error.kind(), ErrorKind::RateLimit);
    let details = error.details();
    assert_eq!(details.retry_after, Some(Duration::from_hours(1)));
    assert_eq!((details.status, details.request_id.as_deref()), (Some(429), Some("req_1")));
    assert_eq!((details.provider.as_deref(), details.retryable), (Some("anthropic"), true));
    assert_eq!(error.message(), "anthropic answered with status `429`: slow down");
}

#[tokio::test]
async fn what_passes_is_tried_again_with_longer_waits() {
    for status in [408, 409, 429, 500, 502, 503, 504, 529] {
        let failure = || ResponseTemplate::new(status);
        let server = serve(vec![failure(), failure(), ok()]).await;
        let (service, clock) = service(&server.uri(), HttpOptions::default());
        let reply = post(&service).await.unwrap();
        assert_eq!((reply.status, reply.requests), (200, 3), "{status}");
        let [first, second] = clock.waits()[..] else { panic!("{:?}", clock.waits()) };
        assert!(first >= FIRST_WAIT / 2 && first <= FIRST_WAIT, "{first:?}");
        assert!(second >= FIRST_WAIT && second <= FIRST_WAIT * 2, "{second:?}");
    }
}

#[tokio::test]
async fn what_does_not_pass_is_not_tried_again() {
    for (status, body) in [
        (400, json!({})),
        (401, json!({})),
        (404, json!({})),
        (501, json!({})),
        (429, json!({"error": {"code": "insufficient_quota"}})),
        (500, json!({"error": {"message": "the request exceeds the available context size"}})),
    ] {
        let server = serve(vec![ResponseTemplate::new(status).set_body_json(body)]).await;
        let (service, clock) = service(&server.uri(), HttpOptions::default());
        let reply = post(&service).await.unwrap();
        assert_eq!((reply.status, reply.requests, clock.waits().len()), (status, 1, 0));
        assert!(!service.refused(&reply).is_retryable());
    }
}

#[tokio::test]
async fn the_service_has_the_last_word_on_another_try() {
    let no = ResponseTemplate::new(500).insert_header("x-should-retry", "false");
    let (service_of_no, _) = service(&serve(vec![no]).await.uri(), HttpOptions::default());
    assert_eq!(post(&service_of_no).await.map(|reply| reply.requests).unwrap_or_default(), 1);
    let server = serve(vec![ResponseTemplate::new(400).insert_header("x-should-retry", "true"), ok()]).await;
    let (service_of_yes, _) = service(&server.uri(), HttpOptions::default());
    assert_eq!(post(&service_of_yes).await.unwrap().requests, 2);
}

#[tokio::test]
async fn tries_are_counted() {
    let server = serve(vec![ResponseTemplate::new(500)]).await;
    let (service, clock) = service(&server.uri(), HttpOptions::default().with_max_retries(10).unwrap());
    let reply = post(&service).await.unwrap();
    assert_eq!((reply.status, reply.requests), (500, 11));
    assert!(clock.waits().iter().all(|wait| *wait <= LONGEST_WAIT));
    assert_eq!(server.received_requests().await.unwrap().len(), 11);
    assert_eq!(service.refused(&reply).kind(), ErrorKind::Provider);
}

/// A server of bare connections: each is handed to a function with its number.
async fn bare<F, W>(answer: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(number, stream));
        }
    });
    address
}

async fn read_request(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !seen.ends_with(b"}") {
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 {
            return; // the client went on
        }
        seen.extend_from_slice(&buffer[..read]);
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_tried_again() {
    let address = bare(|_, mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let (service, clock) = service(&format!("http://{address}"), short(100).with_max_retries(1).unwrap());
    let error = post(&service).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ProviderTimeout);
    assert_eq!(error.message(), "anthropic did not answer in time: `timeout` is 100ms");
    assert_eq!(error.hint(), Some("try again later, or raise `timeout`"));
    assert!(error.is_retryable());
    assert_eq!(clock.waits().len(), 1);
}

#[tokio::test]
async fn an_answer_that_pauses_too_long_is_given_up() {
    let address = bare(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nrequest-id: req_9\r\n\r\n{\"a").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let options = short(30_000).with_read_timeout(Duration::from_millis(50)).unwrap();
    let (service, _) = service(&format!("http://{address}"), options);
    let error = post(&service).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ProviderTimeout);
    assert_eq!(error.details().request_id.as_deref(), Some("req_9"));
    assert_eq!(error.message(), "anthropic paused too long within its answer: `read_timeout` is 50ms");
    assert_eq!(error.hint(), Some("try again later, or raise `read_timeout`"));
}

#[tokio::test]
async fn a_server_that_takes_no_connection_is_given_up() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts: once the queue of the two that fit is full, a further connection is never made.
    let _queue = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let options = short(30_000).with_connect_timeout(Duration::from_millis(50)).unwrap();
    let (service, _) = service(&format!("http://{address}"), options);
    let error = post(&service).await.err().unwrap();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::ProviderTimeout, true));
    assert_eq!(error.message(), "cannot connect to `127.0.0.1` in time: `connect_timeout` is 50ms");
    assert_eq!(error.hint(), Some("check `base_url`, the network and its proxy"));
}

#[tokio::test]
async fn a_connection_that_breaks_within_a_body_is_tried_again() {
    let address = bare(|number, mut stream| async move {
        read_request(&mut stream).await;
        let body: &[u8] = if number == 0 { b"{\"a" } else { b"{\"a\":1234}" };
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await.unwrap();
        stream.write_all(body).await.unwrap();
    })
    .await;
    let (service, clock) = service(&format!("http://{address}"), HttpOptions::default());
    let reply = post(&service).await.unwrap();
    assert_eq!((reply.body.as_slice(), reply.requests, clock.waits().len()), (&b"{\"a\":1234}"[..], 2, 1));
}

#[tokio::test]
async fn a_connection_that_always_breaks_is_an_error_with_its_cause() {
    let address = bare(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{").await.unwrap();
    })
    .await;
    let (service, _) = service(&format!("http://{address}/?token={KEY}"), HttpOptions::default());
    let error = post(&service).await.err().unwrap();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Provider, true));
    assert_eq!(error.message(), "the connection to `127.0.0.1` broke");
    assert!(std::error::Error::source(&error).is_some());
    assert!(!format!("{error:?}").contains(KEY));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (service, clock) = service(&format!("http://{address}"), HttpOptions::default());
    let error = post(&service).await.err().unwrap();
    assert_eq!(error.message(), "cannot connect to `127.0.0.1`");
    assert_eq!(clock.waits().len(), 2);
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let address = bare(|_, mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let block = vec![b' '; 1024 * 1024];
        while stream.write_all(&block).await.is_ok() {}
    })
    .await;
    let (service, _) = service(&format!("http://{address}"), HttpOptions::default());
    let error = post(&service).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
    assert_eq!(error.details().limit, Some(ANSWER_BYTES as u64));
}

#[tokio::test]
async fn no_more_requests_run_at_once_than_allowed_and_the_places_are_used() {
    struct Gate {
        running: AtomicUsize,
        most: AtomicUsize,
        full: Notify,
    }
    let gate = Arc::new(Gate { running: AtomicUsize::new(0), most: AtomicUsize::new(0), full: Notify::new() });
    let seen = gate.clone();
    let address = bare(move |_, mut stream| {
        let gate = seen.clone();
        async move {
            loop {
                read_request(&mut stream).await;
                let running = gate.running.fetch_add(1, Ordering::SeqCst) + 1;
                gate.most.fetch_max(running, Ordering::SeqCst);
                if running == 3 {
                    gate.full.notify_waiters();
                }
                while gate.most.load(Ordering::SeqCst) < 3 {
                    gate.full.notified().await;
                }
                tokio::task::yield_now().await;
                gate.running.fetch_sub(1, Ordering::SeqCst);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            }
        }
    })
    .await;
    let (service, _) = service(&format!("http://{address}"), HttpOptions::default().with_max_concurrency(3).unwrap());
    let outcomes = join_all((0..20).map(|_| post(&service))).await;
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap().status == 200));
    assert_eq!(gate.most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn dropping_a_call_ends_its_request_and_frees_its_place() {
    let (asked, was_asked) = oneshot::channel();
    let (gone, is_gone) = oneshot::channel();
    let signals = Mutex::new(Some((asked, gone)));
    let address = bare(move |_, mut stream| {
        let signals = signals.lock().take();
        async move {
            read_request(&mut stream).await;
            if let Some((asked, gone)) = signals {
                asked.send(()).unwrap();
                assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0, "the client hung up");
                gone.send(()).unwrap();
            } else {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            }
        }
    })
    .await;
    let options = HttpOptions::default().with_max_concurrency(1).unwrap();
    let service = Arc::new(service(&format!("http://{address}"), options).0);
    let calling = tokio::spawn({
        let service = service.clone();
        async move { post(&service).await.map(|reply| reply.status) }
    });
    was_asked.await.unwrap();
    calling.abort();
    is_gone.await.unwrap();
    assert_eq!(post(&service).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_key_is_sent_and_never_shown() {
    struct Echo;
    impl Respond for Echo {
        fn respond(&self, request: &wiremock::Request) -> ResponseTemplate {
            let key = request.headers.get("x-api-key").unwrap().to_str().unwrap();
            let message = format!("the key {key} is wrong");
            ResponseTemplate::new(401).set_body_json(json!({"error": {"message": message}}))
        }
    }
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(Echo).mount(&server).await;
    let uri = server.uri().replace("http://", &format!("http://user:{KEY}@"));
    let (service, _) = service(&format!("{uri}/base?token={KEY}"), HttpOptions::default());
    let error = service.refused(&post(&service).await.unwrap());
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert_eq!(error.message(), "anthropic answered with status `401`: the key [key] is wrong");
    for shown in [format!("{error:?}"), format!("{service:?}"), service.shown_url(), format!("{:?}", service.headers)] {
        assert!(!shown.contains(KEY), "{shown}");
    }
    assert_eq!(server.received_requests().await.unwrap()[0].url.path(), "/base/v1/messages");
}

#[tokio::test]
async fn a_redirection_is_not_followed_because_the_key_would_be() {
    let other = serve(vec![ok()]).await;
    let server = serve(vec![ResponseTemplate::new(307).insert_header("location", other.uri())]).await;
    let (service, _) = service(&server.uri(), HttpOptions::default());
    let error = service.refused(&post(&service).await.unwrap());
    assert_eq!(error.hint(), Some("the service is elsewhere: check `base_url`"));
    assert!(other.received_requests().await.unwrap().is_empty());
}

#[test]
fn bad_settings_are_refused_without_telling_secrets() {
    let make = |url: &str, key: &str| {
        Service::new("openai", url, ("authorization", "Bearer "), key, HttpOptions::default()).map(|_| ())
    };
    for (url, key) in [
        ("http://host", " \n"),
        ("http://host", "sk-secret\nInjected: yes"),
        ("http://host", "sk-secret\u{1F511}\u{7}"),
        ("ftp://user:sk-secret@host", "key"),
        ("sk-secret", "key"),
        ("http://user:sk-secret@[::", "key"),
    ] {
        let error = make(url, key).unwrap_err();
        assert!(error.is_invalid_input());
        assert!(!format!("{error} {error:?}").contains("sk-secret"), "{error:?}");
    }
    make("http://host", "key\n").unwrap();
    assert!(HttpOptions::default().with_timeout(Duration::ZERO).is_err());
    assert!(HttpOptions::default().with_max_retries(11).is_err());
    assert!(HttpOptions::default().with_max_concurrency(0).is_err());
}

#[test]
fn a_client_for_encrypted_services_can_be_made() {
    encryption(true).unwrap();
}
