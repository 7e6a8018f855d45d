//! What a failure says about the next try: whether the service is out, whether it passes, and when it is tried again.

use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::{
    error::{Error, ErrorKind},
    ledger::JobFailure,
};

/// How long a job is put off by its first failure that passes; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest time that it is put off, unless the service asks for more.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// The longest time that a service is obeyed.
const LONGEST_ASKED: Duration = Duration::from_hours(24);

/// Whether the same request may succeed later without a change of anything.
pub(super) fn is_passing(error: &Error) -> bool {
    error.is_retryable() || error.kind() == ErrorKind::ProviderTimeout
}

/// Whether the next request would fail alike, whatever it asks.
pub(super) fn is_outage(error: &Error) -> bool {
    let is_refused = matches!(error.kind(), ErrorKind::Authentication | ErrorKind::RateLimit | ErrorKind::Closed);
    let is_elsewhere = error.kind() == ErrorKind::Provider && !is_of_the_text(error);
    is_passing(error) || error.is_storage() || is_refused || is_elsewhere
}

/// Whether a request with another text may succeed.
pub(super) fn is_of_the_text(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::ContextOverflow | ErrorKind::InvalidResponse => true,
        // A redirection or a model that is not there is nothing that a text can help. A caller's function has no status.
        ErrorKind::Provider => !is_passing(error) && matches!(error.details().status, None | Some(400 | 413 | 422)),
        _ => false,
    }
}

/// When a service that is out is asked again for what waits for it.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    until: Option<Timestamp>,
}

impl Outage {
    /// The service has answered.
    pub(super) fn is_over(&self) {
        *self.0.lock() = State::default();
    }

    /// When what was not tried is tried again, because a request failed; none for not by itself.
    pub(super) fn again(&self, error: &Error, now: Timestamp) -> Option<Timestamp> {
        if !is_passing(error) {
            return None;
        }
        let mut state = self.0.lock();
        // Requests that were under way at once fail together, and are one failure.
        if state.until.is_none_or(|until| until <= now) {
            state.until = behind(now, wait(state.failures));
            state.failures = state.failures.saturating_add(1);
        }
        let asked = error.details().retry_after.map(|asked| asked.min(LONGEST_ASKED));
        let until = state.until?.max(behind(now, asked.unwrap_or_default())?);
        state.until = Some(until);
        Some(until)
    }

    /// What becomes of a job that failed after so many attempts.
    pub(super) fn failure(&self, error: &Error, attempts: u32, now: Timestamp) -> JobFailure {
        let again = self.again(error, now);
        JobFailure {
            error: error.clone(),
            is_counted: is_passing(error) || !is_outage(error),
            again: again.and_then(|again| Some(again.max(behind(now, wait(attempts))?))),
        }
    }
}

/// How long to wait after so many failures before.
fn wait(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT)
}

/// None beyond the end of time.
fn behind(now: Timestamp, wait: Duration) -> Option<Timestamp> {
    now.checked_add(wait).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn provider(status: Option<u16>) -> Error {
        Error::new(ErrorKind::Provider, "no").with_response(status, None, None)
    }

    #[test]
    fn a_failure_is_of_the_text_or_an_outage_and_only_what_passes_is_tried_again() {
        for status in [300, 307, 402, 404, 405, 410, 451] {
            assert!(is_outage(&provider(Some(status))) && !is_of_the_text(&provider(Some(status))), "{status}");
            let failure = Outage::default().failure(&provider(Some(status)), 3, at(0));
            assert!(!failure.is_counted && failure.again.is_none(), "{status}");
        }
        for status in [None, Some(400), Some(413), Some(422)] {
            assert!(is_of_the_text(&provider(status)) && !is_outage(&provider(status)), "{status:?}");
            let failure = Outage::default().failure(&provider(status), 3, at(0));
            assert!(failure.is_counted && failure.again.is_none(), "{status:?}");
        }
        let key = Error::new(ErrorKind::Authentication, "no").with_response(Some(401), None, None);
        assert!(is_outage(&key) && Outage::default().failure(&key, 0, at(0)).again.is_none());
        let busy = provider(Some(503)).with_retryable(true);
        assert!(is_outage(&busy) && !is_of_the_text(&busy) && Outage::default().failure(&busy, 0, at(0)).is_counted);
    }

    #[test]
    fn the_wait_grows_with_the_failures_of_a_job_and_of_the_service_until_it_answers() {
        let late = Error::new(ErrorKind::ProviderTimeout, "no");
        let outage = Outage::default();
        assert_eq!(outage.failure(&late, 0, at(0)).again, Some(at(30)));
        assert_eq!(outage.failure(&late, 0, at(5)).again, Some(at(35)), "no sooner than its own wait");
        assert_eq!(outage.again(&late, at(5)), Some(at(30)), "failures at once are one failure");
        assert_eq!(outage.failure(&late, 2, at(5)).again, Some(at(125)));
        assert_eq!(outage.again(&late, at(30)), Some(at(90)));
        assert_eq!(outage.again(&late, at(90)), Some(at(210)));
        outage.is_over();
        assert_eq!(outage.again(&late, at(300)), Some(at(330)));
        assert_eq!(outage.failure(&late, 99, at(300)).again, Some(at(3_900)));
        let asked = late.with_response(Some(429), None, Some(Duration::from_hours(2)));
        assert_eq!(outage.again(&asked, at(300)), Some(at(7_500)));
        assert_eq!(outage.again(&asked, Timestamp::MAX), None);
    }
}
