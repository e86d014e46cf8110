//! The `send` table: a template of the request that sends a text.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header::CONTENT_TYPE};
use serde_json::Value;
use url::form_urlencoded;

use super::{
    read::phone,
    response::ResponseRules,
    source::Condition,
    table_reader::{condition, table_of_texts},
    template::{GATEWAY_PLACEHOLDERS, GatewayValues, MESSAGE_PLACEHOLDERS, fill, fill_json, fill_url, placeholders},
};
use crate::{
    domain::{Subject, redirect},
    reader::{Reader, not_one_of},
};

const METHODS: &[(&str, Method)] =
    &[("POST", Method::POST), ("PUT", Method::PUT), ("PATCH", Method::PATCH), ("GET", Method::GET)];

pub(super) struct SendTemplate {
    method: Method,
    /// A template.
    url: String,
    /// A template of a chat id, with `{digits}`.
    recipient: String,
    headers: HeaderMap,
    body: BodyTemplate,
    pub(super) response_rules: ResponseRules,
    /// For gateways with a queue: a template of the URL that tells the state of the number, and what holds if messages are
    /// sent at once.
    ready: Option<(String, Condition)>,
    /// The placeholders in use, with repetitions.
    placeholders: Vec<String>,
}

enum BodyTemplate {
    Empty,
    /// Its texts are templates.
    Json(Value),
    /// Texts are templates; a nested table becomes a field with JSON.
    Form(Vec<(String, Value)>),
}

impl SendTemplate {
    pub(super) fn read(table: &mut Reader<'_>, values: &GatewayValues) -> Self {
        let mut used = Vec::new();
        let method = method(table);
        let before = table.faults().iter().count();
        let url = url(table, values, &mut used);
        let body = body(table, &mut used);
        // A misspelled placeholder is already reported; do not report it as missing too.
        if table.faults().iter().count() == before {
            let contains = |names: &[&str]| used.iter().any(|used| names.contains(&used.as_str()));
            if !contains(&["text"]) {
                table.fault("body", "contains no {text}, and neither does url: the message would be empty");
            }
            if !contains(&["chat_id", "digits"]) {
                table.fault(
                    "body",
                    "contains no {chat_id} or {digits}, and neither does url: the message has no recipient",
                );
            }
        }
        let headers = headers(table, values, &body, &mut used);
        let response_rules = ResponseRules::read(table);
        let ready =
            table.has("ready").then(|| table.nested("ready", |table| ready(table, values, &mut used))).flatten();
        let recipient = table.text("address").unwrap_or_else(|| "{digits}".to_owned());
        if !recipient.contains("{digits}") || placeholders(&recipient).any(|name| name != "digits") {
            table.fault("address", "expected a chat id with the placeholder {digits}, such as \"{digits}@c.us\"");
        }
        Self { method, url, recipient, headers, body, response_rules, ready, placeholders: used }
    }

    /// The placeholders in use, each once.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = String> + use<> {
        let mut names = self.placeholders.clone();
        names.sort();
        names.dedup();
        names.into_iter()
    }

    /// The chat id of a subject that has not written yet.
    pub(super) fn recipient(&self, subject: &Subject) -> String {
        let digits = match subject {
            Subject::Phone(phone) => phone.digits().to_owned(),
            other => return other.chat_id(),
        };
        fill(&self.recipient, &|name| (name == "digits").then_some(digits.as_str()))
    }

    /// The request that asks for the state of the number.
    pub(super) fn queue_check(&self, values: &GatewayValues) -> Option<Request<Vec<u8>>> {
        let (url, _) = self.ready.as_ref()?;
        let mut request = Request::get(fill_url(url, &|name| values.get(name))).body(Vec::new()).ok()?;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().remove(CONTENT_TYPE);
        Some(request)
    }

    /// Whether a message would wait, by the state of the number; `false` if the response does not tell.
    pub(super) fn waits(&self, response: &Response<Vec<u8>>) -> bool {
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        self.ready.as_ref().is_some_and(|(_, ready)| ready.holds(&body) == Some(false))
    }

    pub(super) fn request(
        &self,
        values: &GatewayValues,
        chat_id: &str,
        subject: Option<&Subject>,
        text: &str,
    ) -> Request<Vec<u8>> {
        let digits = digits(chat_id, subject);
        let value = |name: &str| match name {
            "chat_id" => Some(chat_id),
            "digits" => Some(digits.as_str()),
            "text" => Some(text),
            name => values.get(name),
        };
        let body = match &self.body {
            BodyTemplate::Empty => Vec::new(),
            BodyTemplate::Json(json) => fill_json(json, &value).to_string().into_bytes(),
            BodyTemplate::Form(entries) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (name, entry) in entries {
                    match fill_json(entry, &value) {
                        Value::String(text) => form.append_pair(name, &text),
                        json => form.append_pair(name, &json.to_string()),
                    };
                }
                form.finish().into_bytes()
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        // If the filled URL is too long, the default URL is refused by egress.
        *request.uri_mut() = fill_url(&self.url, &value).parse().unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

fn ready(table: &mut Reader<'_>, values: &GatewayValues, used: &mut Vec<String>) -> Option<(String, Condition)> {
    let (url, condition) = (url(table, values, used), condition(table));
    if let Some(name) = placeholders(&url).find(|name| MESSAGE_PLACEHOLDERS.contains(name)) {
        table
            .fault("url", format!("{{{name}}} is not allowed here: the state of the number is asked before a message"));
    }
    Some((url, condition?))
}

/// The value of `{digits}`, for gateways that address by number. The digits of a LID are not a phone number, so without
/// a known phone this is the whole chat id, which such a gateway rejects.
fn digits(chat_id: &str, subject: Option<&Subject>) -> String {
    let known = match subject {
        Some(Subject::Phone(phone)) => Some(phone.clone()),
        _ => None,
    };
    phone(chat_id).or(known).map_or_else(|| chat_id.to_owned(), |phone| phone.digits().to_owned())
}

fn method(table: &mut Reader<'_>) -> Method {
    table.choice("method", METHODS).unwrap_or(Method::POST)
}

fn url(table: &mut Reader<'_>, values: &GatewayValues, used: &mut Vec<String>) -> String {
    let Some(template) = table.required_text("url", "the URL that messages are sent to") else { return String::new() };
    check_placeholders(table, "url", &template, used);
    let rest = template.strip_prefix("{url}").unwrap_or(&template);
    if placeholders(rest).any(|name| name == "url") {
        table.fault("url", "{url} is only allowed at the start");
        return template;
    }
    let sample =
        |name: &str| values.get(name).or(if name == "url" { Some("https://gateway.invalid") } else { Some("1") });
    let url = fill_url(&template, &sample);
    if redirect::parse(&url).is_none() || url.parse::<Uri>().is_err() {
        table.fault("url", "expected an http:// or https:// URL without credentials; placeholders are allowed");
    }
    template
}

fn body(table: &mut Reader<'_>, used: &mut Vec<String>) -> BodyTemplate {
    let Some((key, value)) = table.values("body").into_iter().next() else { return BodyTemplate::Empty };
    let body = match value {
        Value::String(text) => match serde_json::from_str(text) {
            Ok(json) => BodyTemplate::Json(json),
            Err(error) => {
                let place = format!("line {} column {}", error.line(), error.column());
                let problem = "expected JSON with placeholders inside quotes, or a table for a form";
                table.fault_at(key, format!("{problem}; invalid JSON at {place}"));
                BodyTemplate::Empty
            }
        },
        Value::Object(form) => BodyTemplate::Form(form.clone().into_iter().collect()),
        _ => {
            table.fault_at(key, "expected JSON in quotes, or a table for a form");
            BodyTemplate::Empty
        }
    };
    match &body {
        BodyTemplate::Empty => {}
        BodyTemplate::Json(json) => visit_texts(json, &mut |text| check_placeholders(table, "body", text, used)),
        BodyTemplate::Form(form) => {
            for (name, entry) in form {
                visit_texts(entry, &mut |text| check_placeholders(table, &format!("body.{name}"), text, used));
            }
        }
    }
    body
}

/// Visits every text in `json`.
fn visit_texts(json: &Value, visit: &mut dyn FnMut(&str)) {
    match json {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| visit_texts(item, visit)),
        Value::Object(entries) => entries.values().for_each(|entry| visit_texts(entry, visit)),
        _ => {}
    }
}

/// Adds the placeholders of a template to `used`, and a fault for each unknown one.
fn check_placeholders(table: &mut Reader<'_>, key: &str, template: &str, used: &mut Vec<String>) {
    let known: Vec<&str> = MESSAGE_PLACEHOLDERS.into_iter().chain(GATEWAY_PLACEHOLDERS).collect();
    for name in placeholders(template) {
        if known.contains(&name) {
            used.push(name.to_owned());
        } else {
            table.fault(key, format!("{{{name}}}: {}", not_one_of(name, &known)));
        }
    }
}

/// Reads the headers, which are the same for all messages: placeholders with a value for each message are not allowed.
fn headers(table: &mut Reader<'_>, values: &GatewayValues, body: &BodyTemplate, used: &mut Vec<String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let content_type = table.text("content_type").or_else(|| match body {
        BodyTemplate::Empty => None,
        BodyTemplate::Json(_) => Some("application/json".to_owned()),
        BodyTemplate::Form(_) => Some("application/x-www-form-urlencoded".to_owned()),
    });
    match content_type.map(HeaderValue::try_from) {
        Some(Ok(value)) => drop(headers.insert(CONTENT_TYPE, value)),
        Some(Err(_)) => table.fault("content_type", "expected a media type such as application/json"),
        None => {}
    }
    for (name, template) in table_of_texts(table, "headers") {
        let key = format!("headers.{name}");
        if let Some(name) = placeholders(&template).find(|name| MESSAGE_PLACEHOLDERS.contains(name)) {
            table.fault(&key, format!("{{{name}}} is not allowed in a header"));
        }
        check_placeholders(table, &key, &template, used);
        let value = HeaderValue::try_from(fill(&template, &|name| values.get(name)));
        match (name.parse::<HeaderName>(), value) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            (Err(_), _) => table.fault(&key, "is not the name of a header"),
            (_, Err(_)) => table.fault(&key, "expected printable characters, also in the values of placeholders"),
        }
    }
    headers
}
