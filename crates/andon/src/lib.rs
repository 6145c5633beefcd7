//! A Model Context Protocol SDK: servers in a few lines.
