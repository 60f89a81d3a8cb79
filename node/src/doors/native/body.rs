//! Reading bodies: bounded in size and time, JSON or refused.

use std::time::Duration;

use axum::body::Body;
use futures::StreamExt as _;
use keymesh_wire::error::{Code, WireError};
use serde::de::DeserializeOwned;

/// How long a body may take.
const BODY: Duration = Duration::from_secs(10);
/// How much of a body that is too large is read and thrown away, so that the refusal can be read before the connection
/// closes.
const DISCARD: usize = 4 * 1024 * 1024;

/// Reads a body of at most `limit` bytes and takes it for JSON of a `T`.
///
/// # Errors
/// [`Code::TooLarge`], [`Code::Malformed`].
pub(super) async fn json<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, WireError> {
    let bytes = tokio::time::timeout(BODY, collect(body, limit))
        .await
        .unwrap_or_else(|_| Err(WireError::new(Code::Malformed, "the body did not arrive in time")))?;
    serde_json::from_slice(&bytes).map_err(|error| WireError::new(Code::Malformed, format!("the body: {error}")))
}

async fn collect(body: Body, limit: usize) -> Result<Vec<u8>, WireError> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut discarded = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| WireError::new(Code::Malformed, "the body broke off"))?;
        if discarded == 0 && bytes.len() + chunk.len() <= limit {
            bytes.extend_from_slice(&chunk);
            continue;
        }
        discarded += chunk.len();
        if discarded > DISCARD {
            break;
        }
    }
    if discarded > 0 {
        return Err(WireError::new(Code::TooLarge, format!("a body may have {limit} bytes")));
    }
    Ok(bytes)
}
