//! What a service says when it refuses: the errors of both vendors, and what compatible servers make of them.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::http::text_of;
use crate::error::ErrorKind;

/// What is kept of a service's words, in characters.
pub(super) const MESSAGE_CHARS: usize = 500;

/// A key below this length, in bytes, is what servers are given that want none: `ollama`, `EMPTY`, `not-needed`.
const PLACEHOLDER: usize = 12;
/// A longer key below this length, in bytes, is short.
const SHORT_KEY: usize = 20;
/// How many bytes of a short key are a part of it that is never shown.
const SHORT_PART: usize = 4;
/// The same of other keys. Services show a beginning and an end of theirs, to tell which one it is.
const LONG_PART: usize = 12;

/// Words that say that a request is longer than the model reads, whatever the status is.
const OVERFLOW: [&str; 9] = [
    "context_length_exceeded",
    "exceed_context_size",
    "request_too_large",
    "maximum context length",
    "context size",
    "context window",
    "exceed context limit",
    "prompt is too long",
    "input is too long",
];

/// What a refusal says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The words that name the kind: the vendor's type, code and parameter.
    pub(crate) code: String,
    pub(crate) message: String,
    /// The status that the body names.
    pub(crate) status: Option<u16>,
}

/// Reads the body of a refusal, of whatever form; one of no known form is its own message.
pub(super) fn read(body: &[u8]) -> Problem {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Problem { message: String::from_utf8_lossy(body).trim().to_owned(), ..Problem::default() };
    };
    let inner = match value.get("error") {
        Some(error) if !error.is_null() => error,
        _ => &value,
    };
    if let Some(message) = inner.as_str() {
        return Problem { message: message.to_owned(), ..Problem::default() };
    }
    let words = |name: &str| inner.get(name).and_then(Value::as_str).unwrap_or_default();
    let message = ["message", "detail", "msg"].into_iter().find_map(|name| inner.get(name)).map(|said| match said {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    Problem {
        code: [words("type"), words("code"), words("param")].join(" ").to_lowercase(),
        message: message.unwrap_or_default(),
        status: inner.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok()),
    }
}

impl Problem {
    /// Whether the type, the code or the message has one of these words.
    pub(crate) fn names(&self, words: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        words.iter().any(|word| self.code.contains(word) || message.contains(word))
    }

    pub(super) fn is_overflow(&self) -> bool {
        self.names(&OVERFLOW)
    }

    pub(super) fn is_out_of_quota(&self) -> bool {
        self.names(&["insufficient_quota", "billing"])
    }

    pub(super) fn kind(&self, status: u16) -> ErrorKind {
        if self.is_overflow() {
            return ErrorKind::ContextOverflow;
        }
        match status {
            401 | 403 => ErrorKind::Authentication,
            408 | 504 => ErrorKind::ProviderTimeout,
            413 => ErrorKind::ContextOverflow,
            429 => ErrorKind::RateLimit,
            _ if self.code.contains("authentication_error") || self.code.contains("invalid_api_key") => {
                ErrorKind::Authentication
            }
            _ if self.code.contains("rate_limit") => ErrorKind::RateLimit,
            _ => ErrorKind::Provider,
        }
    }

    pub(super) fn hint(&self, status: u16) -> Option<&'static str> {
        match self.kind(status) {
            ErrorKind::Authentication => Some("check the API key and what it may do"),
            ErrorKind::RateLimit if self.is_out_of_quota() => Some("the account has nothing left to spend"),
            ErrorKind::RateLimit => Some("wait, or lower `max_concurrency`"),
            ErrorKind::ContextOverflow => Some("remember shorter texts, or name a model that reads more"),
            _ => match status {
                300..=399 => Some("the service is elsewhere: check `base_url`"),
                404 => Some("check the model's name and `base_url`"),
                _ => None,
            },
        }
    }
}

/// What a service said, cut, in one line and without the API key, which some say back, whole or in part.
///
/// A long part of a long key gives way to `[key]`, and so does the whole of a placeholder, whose parts are words of any
/// message. Of a short key, what would be left of it and where it stood may tell the rest, so that nothing is kept of
/// words that hold a part of it.
pub(super) fn without_key(said: &str, key: &str) -> String {
    // No part of the key is cut into one that is not recognised.
    let said: String = said.chars().take(MESSAGE_CHARS + key.len()).collect();
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_short = (PLACEHOLDER..SHORT_KEY).contains(&key.len());
    let least = if is_short { SHORT_PART } else { LONG_PART }.min(key.len()).max(1);
    let mut out = String::new();
    let mut rest = said.as_str();
    while let Some(char) = rest.chars().next() {
        match common_part(rest, key) {
            part if part < least => {
                out.push(char);
                rest = &rest[char.len_utf8()..];
            }
            _ if is_short => return "(what it said holds a part of the API key and is left out)".to_owned(),
            part => {
                out.push_str("[key]");
                rest = &rest[part..];
            }
        }
    }
    out.chars().take(MESSAGE_CHARS).collect()
}

/// How many bytes at the beginning of a text are a part of a key, in whatever case.
fn common_part(text: &str, key: &str) -> usize {
    let (text, key) = (text.as_bytes(), key.as_bytes());
    let common = |start: usize| {
        let pairs = text.iter().zip(&key[start..]);
        pairs.take_while(|(one, other)| one.is_ascii() && one.eq_ignore_ascii_case(other)).count()
    };
    (0..key.len()).map(common).max().unwrap_or_default()
}

/// How long the service asks to wait: a number of seconds, or until a date.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let of_number = |number: f64| Duration::try_from_secs_f64(number.max(0.0)).ok();
    if let Some(milliseconds) = text_of(headers, "retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return of_number(milliseconds / 1_000.0);
    }
    let text = text_of(headers, "retry-after")?;
    if let Ok(seconds) = text.parse::<f64>() {
        return of_number(seconds);
    }
    let until = DateTimeParser::new().parse_timestamp(&text).ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_many_servers_are_read() {
        for (body, status, kind) in [
            (
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
                401,
                ErrorKind::Authentication,
            ),
            (
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
                400,
                ErrorKind::ContextOverflow,
            ),
            (
                r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
                413,
                ErrorKind::ContextOverflow,
            ),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                529,
                ErrorKind::Provider,
            ),
            (
                r#"{"error":{"message":"…","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
                400,
                ErrorKind::ContextOverflow,
            ),
            (
                r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                429,
                ErrorKind::RateLimit,
            ),
            (
                r#"{"object":"error","message":"This model's maximum context length is 4096 tokens.","type":"BadRequestError","code":400}"#,
                400,
                ErrorKind::ContextOverflow,
            ),
            (
                r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
                400,
                ErrorKind::ContextOverflow,
            ),
            (r#"{"error":"model not found"}"#, 404, ErrorKind::Provider),
            (r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#, 422, ErrorKind::Provider),
            ("<html>Bad Gateway</html>", 502, ErrorKind::Provider),
            ("", 504, ErrorKind::ProviderTimeout),
        ] {
            let problem = read(body.as_bytes());
            assert_eq!(problem.kind(status), kind, "{body}");
            assert_eq!(problem.message.is_empty(), body.is_empty(), "{body}");
        }
    }

    #[test]
    fn no_part_of_a_short_key_is_told_and_no_long_part_of_another() {
        let long = "sk-proj-0123456789abcdefghij";
        for (key, said, told) in [
            (long, "the key sk-proj-0123456789abcdefghij is\n wrong", "the key [key] is wrong"),
            (long, "the key SK-PROJ-0123456789ABCDEFGHIJ is wrong", "the key [key] is wrong"),
            (long, "the key sk-proj-0123456789abc… is wrong", "the key [key]… is wrong"),
            (long, "the key sk-proj-****ghij is wrong", "the key sk-proj-****ghij is wrong"),
            (long, "no such model: é", "no such model: é"),
            ("secret", "the model is not here", "the model is not here"),
            ("ollama", "model ollama/none, of ollam, not found", "model [key]/none, of ollam, not found"),
            ("test-key", "this is a test", "this is a test"),
            ("é-no-ascii-é", "é", "é"),
        ] {
            assert_eq!(without_key(said, key), told);
        }
        for (key, said) in [
            ("hunter2-hunter2-hun", "the key hunter2-hunter2-hun is wrong"),
            ("hunter2-hunter2-hun", "the key hunt****-hun is wrong"),
            ("hunter2-hunter2-hun", "the key begins with HUNT"),
            ("hunter2-hunter2-hun", "the key ends with 2-hun"),
        ] {
            assert_eq!(without_key(said, key), "(what it said holds a part of the API key and is left out)", "{said}");
        }
        let padded = format!("{}{long}", "-".repeat(MESSAGE_CHARS - 5));
        assert!(!without_key(&padded, long).contains("sk-"), "cut behind the beginning of the key");
        assert_eq!(without_key(&"é ".repeat(2_000), long).chars().count(), MESSAGE_CHARS);
    }

    #[test]
    fn waits_are_read_as_seconds_milliseconds_and_dates() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let read = |name: &'static str, value: &'static str| {
            retry_after(&HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]), now)
        };
        assert_eq!(read("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(read("retry-after", "0.5"), Some(Duration::from_millis(500)));
        assert_eq!(read("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(read("retry-after", "Thu, 01 Jan 2026 00:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("retry-after", "Wed, 31 Dec 2025 23:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("retry-after", "-3"), Some(Duration::ZERO));
        for nonsense in ["soon", "NaN", "inf", "1e300"] {
            assert!(read("retry-after", nonsense).is_none_or(|wait| wait.is_zero()), "{nonsense}");
        }
    }
}
