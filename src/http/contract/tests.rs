//! The contract describes every route, and every reference in it leads somewhere.

use super::*;
use crate::http::ROUTES;

/// `GET /a` for each method of each route. HEAD and OPTIONS are left out, since they accompany a GET.
fn routed() -> Vec<String> {
    let methods = |entry: &'static crate::http::route::RouteEntry| {
        let methods = entry.methods.split(", ").filter(|method| !["HEAD", "OPTIONS"].contains(method));
        methods.map(|method| format!("{method} {}", entry.path))
    };
    ROUTES.iter().flat_map(methods).collect()
}

#[test]
fn every_route_has_an_operation_and_every_operation_a_route() {
    let routed = routed();
    let documented: Vec<String> =
        operations().iter().map(|operation| format!("{} {}", operation.method, operation.path)).collect();
    for route in &routed {
        assert!(
            documented.contains(route),
            "{route} is a route without an operation. Add its row to the file of its area in src/http/contract/ \
             (or a new file, with a line in operations()):\n\n    operation(Area::…, {:?}, {:?}, \"itsId\", \"Its title\")\n        \
             .about(\"…\").json(<schema>, <example>).envelope(\"<message>\", &<schema of data>, &<example of data>)\n\n\
             src/http/contract/mod.rs says the rest.",
            route.split(' ').next().unwrap_or_default(),
            route.split(' ').nth(1).unwrap_or_default(),
        );
    }
    for operation in &documented {
        assert!(routed.contains(operation), "{operation} is documented and no route: see ROUTES in src/http/mod.rs");
    }
    assert_eq!(routed.len(), documented.len(), "something is there twice");
}

#[test]
fn ids_are_unique_and_every_operation_can_be_understood() {
    for (index, operation) in operations().iter().enumerate() {
        let id = operation.id;
        assert!(operations()[..index].iter().all(|other| other.id != id), "{id} is there twice");
        assert!(!operation.title.is_empty() && !operation.about.is_empty(), "{id} says nothing about itself");
        assert!(!operation.answers.is_empty(), "{id} has no answer");
        for name in operation.path_parameters() {
            assert!(!path_value(operation.path, name).is_empty(), "{id}: path_parameter() does not know {{{name}}}");
        }
    }
}

#[test]
fn every_problem_code_can_occur_somewhere() {
    for code in crate::http::problem::Code::ALL {
        let declared = operations().iter().any(|operation| operation.problems.contains(code));
        // No operation returns this code; it answers a wrong method.
        assert!(declared || code.as_str() == "method_not_allowed", "{} is declared by no operation", code.as_str());
    }
}

#[test]
fn references_lead_somewhere() {
    fn walk(value: &serde_json::Value, document: &serde_json::Value) {
        if let Some(reference) = value.get("$ref").and_then(serde_json::Value::as_str) {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        match value {
            serde_json::Value::Object(map) => map.values().for_each(|value| walk(value, document)),
            serde_json::Value::Array(list) => list.iter().for_each(|value| walk(value, document)),
            _ => {}
        }
    }
    let document = openapi("https://wa.example.org");
    walk(&document, &document);
}

/// A parameter can name what does not exist.
/// openapi-python-client writes invalid Python for a flag that is constant and optional.
#[test]
fn no_optional_flag_is_constant() {
    fn walk(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                let required = members.get("required").and_then(serde_json::Value::as_array);
                for (name, property) in members.get("properties").and_then(|it| it.as_object()).into_iter().flatten() {
                    let is_required = required.is_some_and(|names| names.iter().any(|it| it == name));
                    if property.get("const").is_some_and(serde_json::Value::is_boolean) && !is_required {
                        found.push(name.clone());
                    }
                }
                members.values().for_each(|member| walk(member, found));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(&openapi("https://wa.example.org"), &mut found);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_path_with_a_parameter_documents_that_nothing_is_there() {
    for operation in operations().iter().filter(|operation| operation.path.contains('{')) {
        let mut statuses = operation.problems.iter().map(|code| code.status());
        let pages = operation.answers.iter().any(|answer| answer.status == 410);
        assert!(pages || statuses.any(|status| status == 404), "{} {}", operation.method, operation.path);
    }
}
