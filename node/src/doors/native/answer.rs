//! Answers: JSON, or a [`WireError`] with its status.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use keymesh_wire::error::{Code, WireError};
use serde::Serialize;

/// A request that came to nothing.
#[derive(Debug)]
pub(super) struct Refused(pub(super) WireError);

impl From<WireError> for Refused {
    fn from(error: WireError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        respond(status, &self.0)
    }
}

/// A value as JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        respond(StatusCode::OK, &self.0)
    }
}

fn respond(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes_of(status, "application/json", bytes),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written");
            bytes_of(StatusCode::INTERNAL_SERVER_ERROR, "application/json", INTERNAL.into())
        }
    }
}

/// What is sent if nothing else can be.
const INTERNAL: &[u8] = br#"{"code":"internal","retryable":true,"message":"the answer could not be written"}"#;

/// Bytes of a media type.
pub(super) fn bytes_of(status: StatusCode, media: &'static str, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// There is nothing at this path.
pub(super) async fn nowhere() -> Refused {
    Refused(WireError::new(Code::NotFound, "there is nothing at this path; see /v1/openapi.json"))
}

/// There is something at this path, but not for this method.
pub(super) async fn no_method() -> Refused {
    Refused(WireError::new(Code::Malformed, "this path takes another method; see /v1/openapi.json"))
}
