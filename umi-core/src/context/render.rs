//! What people see of a context: Markdown, trees and HTML. Pure functions of the items.

pub(crate) mod markdown;
