//! What people see of a context: Markdown, trees and HTML. Pure functions of the items.

pub(crate) mod html;
pub(crate) mod markdown;
mod metadata;
mod paths;
pub(crate) mod tree;
