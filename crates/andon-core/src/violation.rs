//! The only table from an error to an HTTP status.

use andon_types::error::{ErrorCode, ErrorObject};
use andon_types::revision::Rules;

/// The HTTP status of an answer that is this error and nothing else.
///
/// 2026-07-28 (Streamable HTTP, "Error Responses") fixes 400 for what is wrong with a request and 404 for an
/// unknown method. Before, an error is an ordinary answer (200) unless the envelope or the state is at fault.
pub fn status(error: &ErrorObject, rules: &Rules) -> u16 {
    const CODES: [ErrorCode; 8] = [
        ErrorCode::ParseError,
        ErrorCode::InvalidRequest,
        ErrorCode::HeaderMismatch,
        ErrorCode::MissingCapability,
        ErrorCode::UnsupportedVersion,
        ErrorCode::MethodNotFound,
        ErrorCode::InvalidParams,
        ErrorCode::Unavailable,
    ];
    match CODES.into_iter().find(|code| *code as i32 == error.code) {
        Some(ErrorCode::Unavailable) if error.is_outage() => 503,
        Some(ErrorCode::Unavailable) => 429,
        Some(ErrorCode::MethodNotFound) if rules.result_type => 404,
        Some(ErrorCode::InvalidParams) if rules.result_type => 400,
        Some(ErrorCode::MethodNotFound | ErrorCode::InvalidParams) | None => 200,
        Some(_) => 400,
    }
}
