//! [`Scope`]: whose memory it is, and the one predicate that every read and write goes through.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest name of a user, agent or session, in bytes.
pub const SCOPE_NAME_BYTES: usize = 256;

/// Whose memory: `user` is the tenant, `agent` and `session` narrow a read.
///
/// No user is a tenant of its own, never "all".
///
/// # Example
/// ```
/// use umi_core::Scope;
/// let scope = Scope::new().with_user("alice")?.with_session("monday")?;
/// assert!(scope.admits(Some("alice"), None, Some("monday")));
/// assert!(!scope.admits(Some("bob"), None, Some("monday")));
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope {
    user: Option<String>,
    agent: Option<String>,
    session: Option<String>,
}

impl Scope {
    /// The scope without user, agent and session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a scope of optional parts.
    ///
    /// # Errors
    /// `InvalidInput` for a part that is empty or longer than 256 bytes.
    pub fn from_parts(user: Option<String>, agent: Option<String>, session: Option<String>) -> Result<Self> {
        for (what, name) in [("user", &user), ("agent", &agent), ("session", &session)] {
            check(what, name.as_deref())?;
        }
        Ok(Self { user, agent, session })
    }

    /// The same scope of another user.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is empty or longer than 256 bytes.
    pub fn with_user(self, user: impl Into<String>) -> Result<Self> {
        Self::from_parts(Some(user.into()), self.agent, self.session)
    }

    /// The same scope of another agent.
    ///
    /// # Errors
    /// As [`Scope::with_user`].
    pub fn with_agent(self, agent: impl Into<String>) -> Result<Self> {
        Self::from_parts(self.user, Some(agent.into()), self.session)
    }

    /// The same scope of another session.
    ///
    /// # Errors
    /// As [`Scope::with_user`].
    pub fn with_session(self, session: impl Into<String>) -> Result<Self> {
        Self::from_parts(self.user, self.agent, Some(session.into()))
    }

    /// The tenant, if one is named.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The agent, if one is named.
    pub fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }

    /// The session, if one is named.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// This scope with every part that `call` names in the place of its own.
    ///
    /// # Example
    /// ```
    /// use umi_core::Scope;
    /// let handle = Scope::new().with_user("alice")?.with_agent("juno")?;
    /// let call = Scope::new().with_session("monday")?;
    /// assert_eq!(handle.overlaid(&call).to_string(), r#"user=Some("alice") agent=Some("juno") session=Some("monday")"#);
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    #[must_use]
    pub fn overlaid(&self, call: &Self) -> Self {
        Self {
            user: call.user.clone().or_else(|| self.user.clone()),
            agent: call.agent.clone().or_else(|| self.agent.clone()),
            session: call.session.clone().or_else(|| self.session.clone()),
        }
    }

    /// The predicate: whether a row of these three belongs to what this scope reads. The user is compared exactly;
    /// agent and session narrow when they are set. Queries of the ledger say the same in SQL.
    pub fn admits(&self, user: Option<&str>, agent: Option<&str>, session: Option<&str>) -> bool {
        let narrows = |own: &Option<String>, row: Option<&str>| own.is_none() || own.as_deref() == row;
        self.user.as_deref() == user && narrows(&self.agent, agent) && narrows(&self.session, session)
    }

    /// The three values that the ledger's queries bind for [`Scope::admits`]: the user (`""` for none, because SQL takes
    /// nulls as distinct), and agent and session (none = do not narrow).
    pub fn bound(&self) -> (&str, Option<&str>, Option<&str>) {
        (stored(self.user()), self.agent(), self.session())
    }
}

/// [`Scope::admits`] as a condition on the columns `user`, `agent` and `session`, in which a missing name is stored
/// as `''`. It binds `:user`, `:agent` and `:session` from [`Scope::bound`].
pub(crate) const SCOPE_PREDICATE: &str =
    "user = :user AND (:agent IS NULL OR agent = :agent) AND (:session IS NULL OR session = :session)";

/// How a missing name is stored: a name is never empty, so `""` is free.
pub(crate) fn stored(name: Option<&str>) -> &str {
    name.unwrap_or("")
}

/// The reverse of [`stored`].
pub(crate) fn restored(name: String) -> Option<String> {
    (!name.is_empty()).then_some(name)
}

fn check(what: &str, name: Option<&str>) -> Result<()> {
    match name {
        Some("") => Err(Error::invalid_input(format!("{what} is empty")).with_hint("leave it out to mean none")),
        Some(name) if name.len() > SCOPE_NAME_BYTES => Err(Error::invalid_input(format!(
            "{what} has {} bytes, at most {SCOPE_NAME_BYTES} are allowed",
            name.len()
        ))
        .with_sizes(SCOPE_NAME_BYTES, name.len())),
        _ => Ok(()),
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user={:?} agent={:?} session={:?}", self.user(), self.agent(), self.session())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_is_a_tenant_of_its_own() {
        assert!(Scope::new().admits(None, Some("a"), None));
        assert!(!Scope::new().admits(Some("alice"), None, None));
        assert!(!Scope::new().with_user("alice").unwrap().admits(None, None, None));
    }

    #[test]
    fn names_are_bounded() {
        assert!(Scope::new().with_user("").unwrap_err().is_invalid_input());
        assert!(Scope::new().with_agent("x".repeat(257)).unwrap_err().is_invalid_input());
        assert!(Scope::new().with_session("x".repeat(256)).is_ok());
    }

    #[test]
    fn a_call_overlays_the_handle() {
        let handle = Scope::new().with_user("alice").unwrap().with_agent("a").unwrap();
        let call = Scope::new().with_user("bob").unwrap();
        assert_eq!(handle.overlaid(&call), Scope::new().with_user("bob").unwrap().with_agent("a").unwrap());
    }
}
