//! [`HttpOptions`]: the limits of the calls of a provider's service.

use std::time::Duration;

use crate::error::{Error, Result};

/// The most tries after the first.
const MAX_RETRIES: u32 = 10;
/// The most requests at once.
const MAX_CONCURRENCY: usize = 1024;
/// The longest time that one try may be given.
const MAX_TIMEOUT: Duration = Duration::from_hours(24);

/// The limits of the calls of a provider's service.
///
/// # Example
/// ```
/// use std::time::Duration;
/// use umi_core::HttpOptions;
/// let options = HttpOptions::default().with_timeout(Duration::from_secs(20))?.with_max_retries(4)?;
/// assert_eq!(options.timeout(), Duration::from_secs(20));
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    pub(super) timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) read_timeout: Duration,
    pub(super) max_retries: u32,
    pub(super) max_concurrency: usize,
    pub(super) system_proxy: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            max_retries: 2,
            max_concurrency: 8,
            system_proxy: false,
        }
    }
}

impl HttpOptions {
    /// The time of one try, from connecting to the last byte of its answer; 60 seconds by default. Waiting for a free
    /// place and between two tries does not count.
    ///
    /// # Errors
    /// `InvalidInput` for zero and for more than a day.
    pub fn with_timeout(self, timeout: Duration) -> Result<Self> {
        check_time("timeout", timeout)?;
        Ok(Self { timeout, ..self })
    }

    /// The time that a connection may take to be made; 10 seconds by default, and never more than the timeout.
    ///
    /// # Errors
    /// `InvalidInput` for zero and for more than a day.
    pub fn with_connect_timeout(self, connect_timeout: Duration) -> Result<Self> {
        check_time("connect_timeout", connect_timeout)?;
        Ok(Self { connect_timeout, ..self })
    }

    /// The time for which an answer that has begun may pause; 30 seconds by default.
    ///
    /// # Errors
    /// `InvalidInput` for zero and for more than a day.
    pub fn with_read_timeout(self, read_timeout: Duration) -> Result<Self> {
        check_time("read_timeout", read_timeout)?;
        Ok(Self { read_timeout, ..self })
    }

    /// The tries after the first, 0 to 10; 2 by default.
    ///
    /// # Errors
    /// `InvalidInput` beyond that.
    pub fn with_max_retries(self, max_retries: u32) -> Result<Self> {
        if max_retries > MAX_RETRIES {
            return Err(Error::invalid_input(format!(
                "max_retries is `{max_retries}`, at most {MAX_RETRIES} are allowed"
            ))
            .with_sizes(MAX_RETRIES as usize, max_retries as usize));
        }
        Ok(Self { max_retries, ..self })
    }

    /// The requests at once, 1 to 1,024; 8 by default. Those beyond wait for their turn.
    ///
    /// # Errors
    /// `InvalidInput` beyond that.
    pub fn with_max_concurrency(self, max_concurrency: usize) -> Result<Self> {
        if !(1..=MAX_CONCURRENCY).contains(&max_concurrency) {
            let message =
                format!("max_concurrency is `{max_concurrency}`, it must lie between 1 and {MAX_CONCURRENCY}");
            return Err(Error::invalid_input(message).with_sizes(MAX_CONCURRENCY, max_concurrency));
        }
        Ok(Self { max_concurrency, ..self })
    }

    /// Whether to go through the proxy that the process's environment names (`HTTPS_PROXY` and the like); not by
    /// default.
    #[must_use]
    pub fn with_system_proxy(self, system_proxy: bool) -> Self {
        Self { system_proxy, ..self }
    }

    /// The time of one try.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The tries after the first.
    pub fn max_retries(&self) -> u32 {
        self.max_retries
    }

    /// The requests at once.
    pub fn max_concurrency(&self) -> usize {
        self.max_concurrency
    }
}

fn check_time(what: &str, time: Duration) -> Result<()> {
    if time.is_zero() || time > MAX_TIMEOUT {
        return Err(Error::invalid_input(format!("{what} is `{time:?}`, it must lie between 0 and a day")));
    }
    Ok(())
}
