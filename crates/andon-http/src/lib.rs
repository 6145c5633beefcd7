//! Streamable HTTP for andon servers.
