//! The requests: each is read, given to [`crate::ops`], and answered.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use keymesh_mesh::release::ReleaseRequest;
use keymesh_wire::api::{
    Accuse, Accused, AuditPage, AuditQuery, AuditRef, Blob, DocumentStatements, Enrol, Enrolled, Membership, NodeInfo,
    QuorumRelease, QuorumReleased, Release, Released, SessionOpen, SessionOpened, Status, Submit, Submitted,
};
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::NodeId;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::answer::{Json, Refused, bytes_of};
use super::body;
use super::session::{Connection, no_session};
use crate::runtime::crash::Plan;

type Answer<T> = Result<Json<T>, Refused>;
type Node = State<Arc<Shared>>;
type Conn = Extension<Arc<Connection>>;

/// The longest trace, in characters.
const TRACE: usize = 64;

/// The description of this API.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

pub(super) async fn healthz(State(shared): Node) -> Response {
    match shared.node.trouble() {
        None => bytes_of(StatusCode::OK, "text/plain; charset=utf-8", b"ok\n".to_vec()),
        Some(_) => {
            // What exactly is wrong is for operators, in the log.
            Refused(WireError::new(Code::Unavailable, "this node serves no releases at the moment")).into_response()
        }
    }
}

pub(super) async fn metrics(State(shared): Node) -> Response {
    let text = shared.node.metrics.text(&shared.node.gauges());
    bytes_of(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text.into_bytes())
}

pub(super) async fn openapi() -> Response {
    bytes_of(StatusCode::OK, "application/json", OPENAPI.as_bytes().to_vec())
}

pub(super) async fn node(State(shared): Node) -> Json<NodeInfo> {
    Json(shared.node.info())
}

pub(super) async fn membership(State(shared): Node) -> Json<Membership> {
    Json(shared.node.members())
}

pub(super) async fn session(State(shared): Node, Extension(connection): Conn, body: Body) -> Answer<SessionOpened> {
    let open: SessionOpen = body::json(body, shared.body_bytes).await?;
    Ok(Json(connection.open(&shared.node, &open)?))
}

pub(super) async fn enrol(State(shared): Node, Extension(connection): Conn, body: Body) -> Answer<Enrolled> {
    let enrol: Enrol = body::json(body, shared.body_bytes).await?;
    Ok(Json(shared.node.enrol(enrol.request, &connection.allowance).await?))
}

pub(super) async fn release(State(shared): Node, Extension(connection): Conn, body: Body) -> Answer<Released> {
    let asked: Release = body::json(body, shared.body_bytes).await?;
    let caller = connection.caller().ok_or_else(no_session)?;
    if caller.tenant != asked.tenant {
        return Err(WireError::new(Code::SessionInvalid, "the session is for another tenant").into());
    }
    if asked.trace.as_ref().is_some_and(|trace| trace.chars().count() > TRACE) {
        return Err(WireError::new(Code::Malformed, format!("a trace has at most {TRACE} characters")).into());
    }
    let request = ReleaseRequest {
        agent: caller.principal,
        tenant: asked.tenant,
        key: asked.key,
        version: asked.version,
        request: asked.request,
        trace: asked.trace,
    };
    let released = shared.node.release(&request, &connection.allowance).await?;
    Ok(Json(Released {
        key: asked.key,
        version: released.version,
        sealed: connection.seal(&asked.request, &released.key)?,
        audit: AuditRef { node: shared.node.me, sequence: released.recorded.sequence() },
    }))
}

pub(super) async fn quorum_release(
    State(shared): Node,
    Extension(connection): Conn,
    body: Body,
) -> Answer<QuorumReleased> {
    let asked: QuorumRelease = body::json(body, shared.body_bytes).await?;
    let caller = connection.caller();
    Ok(Json(shared.node.quorum_release(asked.request, &asked.without, caller.as_ref(), &connection.allowance).await?))
}

pub(super) async fn accusations(State(shared): Node, Extension(connection): Conn, body: Body) -> Answer<Accused> {
    let accuse: Accuse = body::json(body, shared.body_bytes).await?;
    let caller = connection.caller().ok_or_else(no_session)?;
    Ok(Json(shared.node.accuse(&caller, &accuse, &connection.allowance).await?))
}

pub(super) async fn statements(State(shared): Node, Extension(connection): Conn, body: Body) -> Answer<Submitted> {
    let submit: Submit = body::json(body, shared.body_bytes).await?;
    Ok(Json(shared.node.submit(&connection.allowance, submit.statements, submit.blobs).await?))
}

pub(super) async fn document(
    State(shared): Node,
    Extension(connection): Conn,
    Path(document): Path<String>,
) -> Answer<DocumentStatements> {
    let document = id(&document)?;
    Ok(Json(shared.node.document(connection.caller().as_ref(), document).await?))
}

pub(super) async fn blob(
    State(shared): Node,
    Extension(connection): Conn,
    Path((document, blob)): Path<(String, String)>,
) -> Answer<Blob> {
    let (document, blob) = (id(&document)?, id(&blob)?);
    Ok(Json(shared.node.blob(connection.caller().as_ref(), document, blob).await?))
}

pub(super) async fn status(State(shared): Node) -> Answer<Status> {
    Ok(Json(shared.node.status().await?))
}

pub(super) async fn audit(
    State(shared): Node,
    Extension(connection): Conn,
    RawQuery(query): RawQuery,
) -> Answer<AuditPage> {
    let query: AuditQuery = axum::extract::Query::try_from_uri(&uri(query.as_deref()))
        .map(|axum::extract::Query(query)| query)
        .map_err(|error| WireError::new(Code::Malformed, format!("the query: {error}")))?;
    Ok(Json(shared.node.audit_page(connection.caller().as_ref(), query).await?))
}

/// The query on its own, in the form the extractor reads.
fn uri(query: Option<&str>) -> axum::http::Uri {
    let whole = format!("/?{}", query.unwrap_or_default());
    whole.parse().unwrap_or_default()
}

/// Which nodes to cut off.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cut {
    nodes: Vec<NodeId>,
}

/// Nothing.
#[derive(Debug, Serialize)]
pub(super) struct Nothing {}

pub(super) async fn cut(State(shared): Node, body: Body) -> Answer<Nothing> {
    let cut: Cut = body::json(body, shared.body_bytes).await?;
    shared.node.warn(format!("testing: cut off from {} nodes on request", cut.nodes.len()));
    shared.node.transport.cut(cut.nodes);
    Ok(Json(Nothing {}))
}

pub(super) async fn crash(State(shared): Node, body: Body) -> Answer<Nothing> {
    let plan: Plan = body::json(body, shared.body_bytes).await?;
    shared.node.warn(format!("testing: this process ends at a write on request: {plan:?}"));
    shared.node.crash.plan(plan);
    Ok(Json(Nothing {}))
}

/// Whether to lie as a custodian.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lie {
    lies: bool,
}

pub(super) async fn lie(State(shared): Node, body: Body) -> Answer<Nothing> {
    let lie: Lie = body::json(body, shared.body_bytes).await?;
    if lie.lies {
        shared.node.warn("testing: this custodian gives false partials on request".to_owned());
    }
    shared.node.lies.store(lie.lies, Ordering::Relaxed);
    Ok(Json(Nothing {}))
}

fn id<T: FromStr>(text: &str) -> Result<T, WireError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| WireError::new(Code::Malformed, format!("the path: {error}")))
}
