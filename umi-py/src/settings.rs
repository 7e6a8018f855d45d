//! The settings of the clients of services, from arguments and from the environment.

use std::time::Duration;

use pyo3::prelude::*;
use umi_core::{Error, HttpOptions};

use crate::{
    convert::{Real, Text, Whole},
    error::IntoPyResult,
};

#[expect(clippy::disallowed_methods, reason = "the bindings pass the core what the environment says")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The key that was given, else that of the environment.
pub(crate) fn key_or(key: Option<Text>, name: &str) -> PyResult<String> {
    key.map(|key| key.0)
        .or_else(|| variable(name))
        .ok_or_else(|| {
            Error::invalid_input(format!("no API key is given, and the environment has no `{name}`"))
                .with_hint(format!("set {name}, or give `api_key`"))
        })
        .py()
}

pub(crate) fn model_name(name: Text) -> PyResult<String> {
    if name.0.trim().is_empty() {
        return Err(Error::invalid_input("the name of a model is empty")).py();
    }
    Ok(name.0)
}

pub(crate) fn tokens(number: Whole) -> PyResult<u32> {
    match u32::try_from(number.0) {
        Ok(tokens) if tokens > 0 => Ok(tokens),
        _ => Err(Error::invalid_input(format!("max_tokens is `{}`, it must lie between 1 and {}", number.0, u32::MAX)))
            .py(),
    }
}

pub(crate) fn options(timeout: Real, max_retries: Whole, max_concurrency: Option<Whole>) -> PyResult<HttpOptions> {
    let timeout = Duration::try_from_secs_f64(timeout.0)
        .map_err(|error| {
            Error::invalid_input(format!("timeout is `{}`, it must lie between 0 and a day, in seconds", timeout.0))
                .with_source(error)
        })
        .py()?;
    let max_retries = u32::try_from(max_retries.size("max_retries")?).unwrap_or(u32::MAX);
    // As the vendors' SDKs do.
    let mut options = HttpOptions::default().with_system_proxy(true).with_timeout(timeout).py()?;
    // A service that answers at once and goes on thinking is given the same time.
    options = options.with_read_timeout(timeout).py()?;
    options = options.with_max_retries(max_retries).py()?;
    match max_concurrency {
        Some(places) => options.with_max_concurrency(places.size("max_concurrency")?).py(),
        None => Ok(options),
    }
}

/// A number of calls at once, within the bounds of a service's.
pub(crate) fn places(max_concurrency: Whole) -> PyResult<usize> {
    let options = HttpOptions::default().with_max_concurrency(max_concurrency.size("max_concurrency")?).py()?;
    Ok(options.max_concurrency())
}
