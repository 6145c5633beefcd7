//! The server side of the SDK: handlers, context, host, stdio.
