//! Parses query strings and forms into tables.

use actix_web::HttpRequest;
use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::{
    api::limits,
    reader::{Format, Reader},
};

/// The parameters of a query string, or the fields of a form. A name that occurs twice becomes a list, which a reader
/// of single values refuses.
pub(super) fn parse(encoded: &[u8]) -> Map<String, Value> {
    let mut table = Map::new();
    for (name, value) in form_urlencoded::parse(encoded).into_owned() {
        match table.get_mut(&name) {
            None => drop(table.insert(name, Value::String(value))),
            Some(Value::Array(values)) => values.push(Value::String(value)),
            Some(first) => *first = Value::Array(vec![first.take(), Value::String(value)]),
        }
    }
    table
}

/// The fields of a form, with those named as PHP does, `message[success]`, in nested tables.
pub(super) fn form(encoded: &[u8]) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in parse(encoded) {
        let inner = name.split_once('[').and_then(|(outer, rest)| Some((outer, rest.strip_suffix(']')?)));
        match inner.filter(|(outer, inner)| !outer.is_empty() && !inner.contains(['[', ']'])) {
            None => drop(fields.insert(name, value)),
            Some((outer, inner)) => match fields.entry(outer).or_insert_with(|| Map::new().into()) {
                Value::Object(nested) => drop(nested.insert(inner.to_owned(), value)),
                single => *single = Value::Array(vec![single.take(), value]),
            },
        }
    }
    fields
}

/// The query string of a request.
pub(super) fn parse_query(request: &HttpRequest) -> Map<String, Value> {
    parse(request.query_string().as_bytes())
}

pub(super) fn reader(table: &Map<String, Value>) -> Reader<'_> {
    Reader::new(Format::Query, "", table)
}

/// Number of entries in a page of a list.
pub(super) fn page_size(f: &mut Reader<'_>, default: u32) -> usize {
    f.number("limit", limits::PAGE).unwrap_or(default).try_into().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_occurs_twice_is_a_fault_of_its_own_field() {
        let table = parse(b"a=1&b=x%20y&a=2&empty=&other=1&other=2");
        let mut f = reader(&table);
        assert_eq!((f.text("b").as_deref(), f.text("empty")), (Some("x y"), Some(String::new())));
        assert_eq!((f.text("a"), f.number("a", 0..=9)), (None, None));
        let faults = f.finish(Some(())).unwrap_err();
        let faults: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.key, fault.problem)).collect();
        assert_eq!(faults, ["a: is given twice", "a: is given twice"], "and what is not asked for is not looked at");
    }
}
