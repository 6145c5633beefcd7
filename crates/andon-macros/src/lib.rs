//! The attribute macros tool, resource and prompt.
