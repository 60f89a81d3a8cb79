//! Which request goes where.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post};

use super::Shared;
use super::answer::{no_method, nowhere};
use super::handlers;

type Route = (&'static str, &'static str, MethodRouter<Arc<Shared>>);

fn routes() -> Vec<Route> {
    vec![
        ("get", "/healthz", get(handlers::healthz)),
        ("get", "/metrics", get(handlers::metrics)),
        ("get", "/v1/openapi.json", get(handlers::openapi)),
        ("get", "/v1/node", get(handlers::node)),
        ("get", "/v1/membership", get(handlers::membership)),
        ("post", "/v1/session", post(handlers::session)),
        ("post", "/v1/enrol", post(handlers::enrol)),
        ("post", "/v1/release", post(handlers::release)),
        ("post", "/v1/quorum-release", post(handlers::quorum_release)),
        ("post", "/v1/accusations", post(handlers::accusations)),
        ("post", "/v1/statements", post(handlers::statements)),
        ("get", "/v1/documents/{document}", get(handlers::document)),
        ("get", "/v1/documents/{document}/blobs/{blob}", get(handlers::blob)),
        ("get", "/v1/status", get(handlers::status)),
        ("get", "/v1/audit", get(handlers::audit)),
    ]
}

/// Only where the configuration allows faults.
fn testing_routes() -> Vec<Route> {
    vec![
        ("post", "/v1/testing/cut", post(handlers::cut)),
        ("post", "/v1/testing/crash", post(handlers::crash)),
        ("post", "/v1/testing/lie", post(handlers::lie)),
    ]
}

/// All methods and paths, those for testing included.
pub fn paths() -> Vec<(&'static str, &'static str)> {
    routes().into_iter().chain(testing_routes()).map(|(method, path, _)| (method, path)).collect()
}

pub(super) fn router(shared: Arc<Shared>, allow_faults: bool) -> Router {
    let testing = if allow_faults { testing_routes() } else { Vec::new() };
    let mut router = Router::new();
    for (_, path, method) in routes().into_iter().chain(testing) {
        router = router.route(path, method);
    }
    router.method_not_allowed_fallback(no_method).fallback(nowhere).with_state(shared)
}
