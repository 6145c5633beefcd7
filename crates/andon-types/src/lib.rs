//! The vocabulary of the Model Context Protocol: messages, methods, revisions.
