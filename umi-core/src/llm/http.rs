//! How a provider's service is called: one client with limits on time, size, tries and concurrency.

mod options;

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use reqwest::{
    Client, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OnceCell, Semaphore};

pub use self::options::HttpOptions;
use super::refusal::{self, Problem};
use crate::{
    blocking::blocking,
    error::{Error, ErrorKind, Result},
    world::{self, Clock, Ids, RandomIds, SystemClock},
};

/// The first wait between two tries; each further one is twice as long, with a random part taken off.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait that is not asked for by the service.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// The longest wait that a service may ask for; a longer one is left to the caller.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(1);
/// What a service may answer, in bytes.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A service that answers posted JSON with JSON.
pub(crate) struct Service {
    provider: &'static str,
    base_url: Url,
    key: SecretString,
    headers: HeaderMap,
    options: HttpOptions,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    connection: ArcSwapOption<Connection>,
}

/// What one process has of a service: a forked child must not write into the connections of its parent, nor wait for
/// the places that its parent's requests hold.
struct Connection {
    process: u32,
    client: OnceCell<Client>,
    permits: Semaphore,
}

/// What a service answered, whatever its status is.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) request_id: Option<String>,
    /// The tries that it took.
    pub(crate) requests: u64,
    retry_after: Option<Duration>,
    /// What the service itself says about another try.
    should_retry: Option<bool>,
}

impl Reply {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What a refusal says.
    pub(crate) fn problem(&self) -> Problem {
        refusal::read(&self.body)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("provider", &self.provider)
            .field("base_url", &self.shown_url())
            .finish_non_exhaustive()
    }
}

impl Service {
    /// A service at a base URL, with the header that carries the key: its value's prefix and the key.
    pub(crate) fn new(
        provider: &'static str,
        base_url: &str,
        header: (&'static str, &str),
        key: &str,
        options: HttpOptions,
    ) -> Result<Self> {
        let key = key.trim();
        if key.is_empty() {
            return Err(Error::invalid_input(format!("the API key for {provider} is empty")));
        }
        let mut value = HeaderValue::from_str(&format!("{}{key}", header.1)).map_err(|_| {
            Error::invalid_input(format!("the API key for {provider} holds a character that no key has"))
        })?;
        value.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(header.0), value);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self {
            provider,
            base_url: parse_base_url(base_url)?,
            key: key.into(),
            headers,
            options,
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds::from_entropy()),
            connection: ArcSwapOption::empty(),
        })
    }

    /// Sends this header too.
    pub(crate) fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// Waits by this clock and with these random parts.
    pub(crate) fn with_world(self, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self { clock, ids, ..self }
    }

    pub(crate) fn provider(&self) -> &'static str {
        self.provider
    }

    pub(crate) fn options(&self) -> &HttpOptions {
        &self.options
    }

    pub(crate) fn is_host(&self, host: &str) -> bool {
        self.base_url.host_str() == Some(host)
    }

    /// The base URL without what it may hold of secrets.
    pub(crate) fn shown_url(&self) -> String {
        let mut url = self.base_url.clone();
        url.set_query(None);
        // A URL that was checked to be one of HTTP can do without a user.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        url.as_str().trim_end_matches('/').to_owned()
    }

    /// Posts a body to a path below the base URL, and again where that may help. Gives the last answer, whatever its
    /// status is.
    pub(crate) async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Reply> {
        let url = self.url(path);
        let body = bytes_of(body)?;
        let connection = self.connection();
        let _permit = connection
            .permits
            .acquire()
            .await
            .map_err(|error| Error::internal("the places for requests are gone").with_source(error))?;
        let client = connection.client.get_or_try_init(|| self.client()).await?;
        let mut requests = 0;
        loop {
            requests += 1;
            let outcome = self.attempt(client, url.clone(), body.clone()).await;
            let wait = match &outcome {
                _ if requests > u64::from(self.options.max_retries) => None,
                Ok(reply) if Self::may_help(reply) => self.wait_before(requests, reply.retry_after),
                Err(error) if error.is_retryable() => self.wait_before(requests, None),
                _ => None,
            };
            let Some(wait) = wait else {
                return outcome.map(|reply| Reply { requests, ..reply });
            };
            let status = outcome.as_ref().ok().map(|reply| reply.status);
            let provider = self.provider;
            tracing::info!(target: "umi::llm", provider, status, requests, ?wait, "a request is tried again");
            self.clock.wait_until(self.clock.now().saturating_add(wait).unwrap_or(jiff::Timestamp::MAX)).await;
        }
    }

    /// Whether another try may have another answer.
    fn may_help(reply: &Reply) -> bool {
        !reply.is_success() && reply.should_retry.unwrap_or_else(|| is_passing(reply.status, &reply.problem()))
    }

    /// How long to wait before the next try; none where the service asks for more patience than there is.
    fn wait_before(&self, tried: u64, asked: Option<Duration>) -> Option<Duration> {
        let random = world::fraction(&*self.ids, self.clock.now());
        if let Some(asked) = asked {
            // Behind what was asked for, so that not all who were told the same come back at once.
            return (asked <= LONGEST_RETRY_AFTER).then(|| asked + FIRST_WAIT.mul_f64(random));
        }
        let doublings = u32::try_from(tried.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        let longest = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
        Some(longest.mul_f64(1.0 - random / 2.0))
    }

    async fn attempt(&self, client: &Client, url: Url, body: Vec<u8>) -> Result<Reply> {
        let timeout = self.options.timeout;
        tokio::time::timeout(timeout, self.exchange(client, url, body))
            .await
            .unwrap_or_else(|_| Err(self.too_late("did not answer in time", "timeout", timeout)))
    }

    async fn exchange(&self, client: &Client, url: Url, body: Vec<u8>) -> Result<Reply> {
        let request = client.post(url).headers(self.headers.clone()).body(body);
        let mut response = request.send().await.map_err(|error| self.unreached(error))?;
        let status = response.status().as_u16();
        let headers = response.headers();
        let request_id = ["request-id", "x-request-id"].iter().find_map(|name| text_of(headers, name));
        let retry_after = refusal::retry_after(headers, self.clock.now());
        let should_retry = text_of(headers, "x-should-retry").and_then(|text| text.parse().ok());
        let lost = |error: Error| error.with_response(Some(status), request_id.clone(), None);
        let mut body = Vec::new();
        loop {
            let Ok(read) = tokio::time::timeout(self.options.read_timeout, response.chunk()).await else {
                return Err(lost(self.too_late(
                    "paused too long within its answer",
                    "read_timeout",
                    self.options.read_timeout,
                )));
            };
            let chunk = read.map_err(|error| lost(self.unreached(error)))?;
            let Some(chunk) = chunk else { break };
            if body.len() + chunk.len() > ANSWER_BYTES {
                let message = format!("{} answered more than {ANSWER_BYTES} bytes", self.provider);
                return Err(lost(
                    Error::new(ErrorKind::InvalidResponse, message)
                        .with_sizes(ANSWER_BYTES, body.len() + chunk.len())
                        .with_provider(self.provider),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, body, request_id, requests: 1, retry_after, should_retry })
    }

    /// The error of a time that is over, by the name of its option.
    fn too_late(&self, what: &str, option: &str, time: Duration) -> Error {
        Error::new(ErrorKind::ProviderTimeout, format!("{} {what}: `{option}` is {time:?}", self.provider))
            .with_hint(format!("try again later, or raise `{option}`"))
            .with_retryable(true)
            .with_provider(self.provider)
    }

    fn unreached(&self, error: reqwest::Error) -> Error {
        let host = self.base_url.host_str().unwrap_or_default();
        let unreached = if error.is_connect() && error.is_timeout() {
            let time = self.options.connect_timeout;
            let message = format!("cannot connect to `{host}` in time: `connect_timeout` is {time:?}");
            Error::new(ErrorKind::ProviderTimeout, message).with_hint("check `base_url`, the network and its proxy")
        } else if error.is_connect() {
            Error::new(ErrorKind::Provider, format!("cannot connect to `{host}`"))
                .with_hint("check `base_url`, the network and its proxy")
        } else {
            Error::new(ErrorKind::Provider, format!("the connection to `{host}` broke"))
        };
        // The URL of the request may hold a secret.
        unreached.with_source(error.without_url()).with_retryable(true).with_provider(self.provider)
    }

    /// The error of a reply that is a refusal.
    pub(crate) fn refused(&self, reply: &Reply) -> Error {
        let problem = reply.problem();
        let status = problem.status.filter(|_| reply.is_success()).unwrap_or(reply.status);
        let kind = problem.kind(status);
        let said = self.redacted(&problem.message);
        let message = if said.is_empty() {
            format!("{} answered with status `{status}`", self.provider)
        } else {
            format!("{} answered with status `{status}`: {said}", self.provider)
        };
        let error = Error::new(kind, message)
            .with_retryable(is_passing(status, &problem))
            .with_provider(self.provider)
            .with_response(Some(status), reply.request_id.clone(), reply.retry_after);
        match problem.hint(status) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// The error of an answer that is not what was asked for. What is quoted of it has to be redacted.
    pub(crate) fn misunderstood(&self, reply: &Reply, what: &str) -> Error {
        Error::new(ErrorKind::InvalidResponse, format!("{} {what}", self.provider))
            .with_provider(self.provider)
            .with_response(Some(reply.status), reply.request_id.clone(), None)
    }

    /// The error of an answer without words.
    pub(crate) fn unanswered(&self, reply: &Reply, is_cut: bool) -> Error {
        if is_cut {
            return self
                .misunderstood(reply, "reached the limit of tokens before it answered")
                .with_hint("raise the provider's `max_tokens=`");
        }
        self.misunderstood(reply, "gave an empty answer")
    }

    /// What a service said, cut, in one line and without the key: some say it back.
    pub(crate) fn redacted(&self, text: &str) -> String {
        refusal::without_key(text, self.key.expose_secret())
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        url.set_path(&format!("{}/{path}", self.base_url.path().trim_end_matches('/')));
        url
    }

    fn connection(&self) -> Arc<Connection> {
        let process = std::process::id();
        loop {
            let current = self.connection.load_full();
            if let Some(connection) = current.as_ref().filter(|connection| connection.process == process) {
                return Arc::clone(connection);
            }
            let permits = Semaphore::new(self.options.max_concurrency);
            let fresh = Arc::new(Connection { process, client: OnceCell::new(), permits });
            let before = self.connection.compare_and_swap(&current, Some(Arc::clone(&fresh)));
            if before.as_ref().map(Arc::as_ptr) == current.as_ref().map(Arc::as_ptr) {
                // What a parent's threads drove is nothing to close here.
                std::mem::forget(current);
                return fresh;
            }
        }
    }

    /// Makes the client, off the I/O workers: it reads the system's certificates.
    async fn client(&self) -> Result<Client> {
        let (provider, options) = (self.provider, self.options.clone());
        let is_encrypted = self.base_url.scheme() == "https" || options.system_proxy;
        blocking(move || {
            let mut builder = Client::builder()
                .tls_backend_preconfigured(encryption(is_encrypted).map_err(|error| {
                    Error::new(ErrorKind::Provider, "cannot read the system's certificates")
                        .with_hint("install them (Debian: ca-certificates), or name a file of them in SSL_CERT_FILE")
                        .with_source(error)
                        .with_provider(provider)
                })?)
                .redirect(Policy::none())
                .connect_timeout(options.connect_timeout)
                .user_agent(concat!("umi/", env!("CARGO_PKG_VERSION")));
            if !options.system_proxy {
                builder = builder.no_proxy();
            }
            builder.build().map_err(|error| {
                Error::new(ErrorKind::Provider, "cannot make an HTTP client").with_source(error).with_provider(provider)
            })
        })
        .await
    }
}

/// Whether a status is one that passes by itself.
fn is_passing(status: u16, problem: &Problem) -> bool {
    match status {
        429 => !problem.is_out_of_quota(),
        408 | 409 => true,
        // A server that says "not implemented", and one that fails because a text is too long for it, will again.
        501 => false,
        status => status >= 500 && !problem.is_overflow(),
    }
}

/// TLS by ring, with the certificates of the system; with none where nothing will be encrypted.
fn encryption(is_needed: bool) -> std::result::Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    if is_needed {
        return Ok(builder.with_platform_verifier()?.with_no_client_auth());
    }
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn bytes_of(body: &serde_json::Value) -> Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(|error| Error::internal("a request is no JSON").with_source(error))
}

pub(super) fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    Some(text.chars().take(refusal::MESSAGE_CHARS).collect())
}

fn parse_base_url(text: &str) -> Result<Url> {
    // The text itself may hold a password.
    let refuse = |why: &str| Error::invalid_input(format!("the base URL {why}")).with_hint("such as `https://host/v1`");
    let url = Url::parse(text.trim()).map_err(|error| refuse("is no URL").with_source(error))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refuse("is not one of HTTP"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
