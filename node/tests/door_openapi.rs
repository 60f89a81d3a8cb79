//! The description of the API and the API are the same.

use std::collections::BTreeSet;

use serde_json::Value;

fn description() -> Value {
    serde_json::from_str(include_str!("../../docs/openapi.json")).expect("docs/openapi.json is JSON")
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let description = description();
    let mut described = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys().filter(|key| *key != "parameters") {
            described.insert((method.clone(), path.clone()));
        }
    }
    let routed: BTreeSet<(String, String)> = keymesh::doors::native::paths()
        .into_iter()
        .map(|(method, path)| (method.to_owned(), path.to_owned()))
        .collect();
    assert_eq!(described, routed);
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let description = description();
    let mut references = BTreeSet::new();
    collect(&description, &mut references);
    let schemas = description["components"]["schemas"].as_object().expect("schemas");
    let named: BTreeSet<String> = schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    let responses = description["components"]["responses"].as_object().expect("responses");
    let named: BTreeSet<String> =
        named.into_iter().chain(responses.keys().map(|name| format!("#/components/responses/{name}"))).collect();
    assert_eq!(references, named);
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("$ref", Value::String(to)) => {
                        references.insert(to.clone());
                    }
                    _ => collect(value, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[test]
fn the_codes_of_errors_are_all_described() {
    use keymesh_wire::error::Code;
    let codes = [
        Code::Refused,
        Code::Malformed,
        Code::TooLarge,
        Code::SessionRequired,
        Code::SessionInvalid,
        Code::NotServedHere,
        Code::QuorumUnavailable,
        Code::Unavailable,
        Code::Throttled,
        Code::StatementInvalid,
        Code::NotAuthorised,
        Code::NotFound,
        Code::Ambiguous,
        Code::EvidenceInvalid,
        Code::TicketInvalid,
        Code::AlreadyBound,
        Code::ClockDifference,
        Code::Stale,
        Code::GenerationUnfit,
        Code::Internal,
    ];
    let codes: Vec<Value> = codes.iter().map(|code| serde_json::to_value(code).expect("a code")).collect();
    assert_eq!(description()["components"]["schemas"]["WireError"]["properties"]["code"]["enum"], Value::Array(codes));
}
