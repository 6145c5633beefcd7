//! The only table from an error to an HTTP status.

use andon_types::error::{ErrorCode, ErrorObject};
use andon_types::revision::Rules;

/// The HTTP status of the refusal of a request: of an answer that is this error and nothing else.
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

/// The HTTP status of an error with which a handler ended. The request was taken: what became of it is for whoever called, and not
/// for those in between, who come again when they are told 429.
///
/// 2026-07-28 has 400 for parameters that only a handler can judge, and for a capability that it finds missing. 503 says that
/// nothing was done, because it could not be written down.
pub fn status_of_outcome(error: &ErrorObject, rules: &Rules) -> u16 {
    let at_fault = [ErrorCode::InvalidParams, ErrorCode::MissingCapability];
    match error.code {
        _ if error.is_outage() => 503,
        code if rules.result_type && at_fault.into_iter().any(|known| known as i32 == code) => 400,
        _ => 200,
    }
}
