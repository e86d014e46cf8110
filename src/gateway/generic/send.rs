//! The request that sends a text, from templates.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header::CONTENT_TYPE};
use serde_json::Value;
use url::form_urlencoded;

use super::{
    answer::Answers,
    fields::table,
    read::phone,
    template::{OF_A_MESSAGE, OF_THE_GATEWAY, Values, fill, fill_json, fill_url, names},
};
use crate::{
    domain::{Subject, redirect},
    reader::{Reader, not_one_of},
};

const METHODS: &[(&str, Method)] =
    &[("POST", Method::POST), ("PUT", Method::PUT), ("PATCH", Method::PATCH), ("GET", Method::GET)];

pub(super) struct Send {
    method: Method,
    /// A template.
    url: String,
    /// A template of a chat id.
    address: String,
    headers: HeaderMap,
    body: Body,
    pub(super) answers: Answers,
    /// Used by templates.
    names: Vec<String>,
}

enum Body {
    Empty,
    /// Its texts are templates.
    Json(Value),
    /// Texts are templates; a table within becomes a field of JSON.
    Form(Vec<(String, Value)>),
}

impl Send {
    pub(super) fn read(f: &mut Reader<'_>, values: &Values) -> Self {
        let mut used = Vec::new();
        let method = method(f);
        let before = f.faults().iter().count();
        let url = url(f, values, &mut used);
        let body = body(f, &mut used);
        // A faulty template may mean to name what seems to be missing.
        if f.faults().iter().count() == before {
            let said = |names: &[&str]| used.iter().any(|used| names.contains(&used.as_str()));
            if !said(&["text"]) {
                f.fault("body", "holds no {text}, and neither does url: nothing would be said");
            }
            if !said(&["chat_id", "digits"]) {
                f.fault("body", "holds neither {chat_id} nor {digits}, and neither does url: nobody would be told");
            }
        }
        let headers = headers(f, values, &body, &mut used);
        let answers = Answers::fields(f);
        let address = f.text("address").unwrap_or_else(|| "{digits}".to_owned());
        if !address.contains("{digits}") || names(&address).any(|name| name != "digits") {
            f.fault("address", "expected {digits} and what stands around it in a chat id, such as \"{digits}@c.us\"");
        }
        Self { method, url, address, headers, body, answers, names: used }
    }

    /// Every name once.
    pub(super) fn names(&self) -> impl Iterator<Item = String> + use<> {
        let mut names = self.names.clone();
        names.sort();
        names.dedup();
        names.into_iter()
    }

    /// Who has never written has no chat id yet.
    pub(super) fn address(&self, subject: &Subject) -> String {
        let digits = match subject {
            Subject::Phone(phone) => phone.digits().to_owned(),
            other => return other.chat_id(),
        };
        fill(&self.address, &|name| (name == "digits").then_some(digits.as_str()))
    }

    pub(super) fn request(
        &self,
        values: &Values,
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
            Body::Empty => Vec::new(),
            Body::Json(json) => fill_json(json, &value).to_string().into_bytes(),
            Body::Form(entries) => {
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
        // Longer than a URL may be, it becomes one that egress refuses.
        *request.uri_mut() = fill_url(&self.url, &value).parse().unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// What a gateway wants that addresses by number. The digits of a LID are nobody's number: without a phone it
/// gets the chat's whole id, which it will refuse.
fn digits(chat_id: &str, subject: Option<&Subject>) -> String {
    let known = match subject {
        Some(Subject::Phone(phone)) => Some(phone.clone()),
        _ => None,
    };
    phone(chat_id).or(known).map_or_else(|| chat_id.to_owned(), |phone| phone.digits().to_owned())
}

fn method(f: &mut Reader<'_>) -> Method {
    f.choice("method", METHODS).unwrap_or(Method::POST)
}

fn url(f: &mut Reader<'_>, values: &Values, used: &mut Vec<String>) -> String {
    let Some(template) = f.required_text("url", "where a message is posted to") else { return String::new() };
    check(f, "url", &template, used);
    let rest = template.strip_prefix("{url}").unwrap_or(&template);
    if names(rest).any(|name| name == "url") {
        f.fault("url", "{url} can only stand at the start");
        return template;
    }
    let sample =
        |name: &str| values.get(name).or(if name == "url" { Some("https://gateway.invalid") } else { Some("1") });
    let url = fill_url(&template, &sample);
    if redirect::parse(&url).is_none() || url.parse::<Uri>().is_err() {
        f.fault("url", "expected an http:// or https:// URL without credentials, in which {names} may stand");
    }
    template
}

fn body(f: &mut Reader<'_>, used: &mut Vec<String>) -> Body {
    let Some((key, value)) = f.values("body").into_iter().next() else { return Body::Empty };
    let body = match value {
        Value::String(text) => match serde_json::from_str(text) {
            Ok(json) => Body::Json(json),
            Err(error) => {
                let place = format!("line {} column {}", error.line(), error.column());
                let problem = "expected JSON in which {names} stand within quotes, or a table for a form";
                f.fault_at(key, format!("{problem}; it stops being JSON at {place}"));
                Body::Empty
            }
        },
        Value::Object(form) => Body::Form(form.clone().into_iter().collect()),
        _ => {
            f.fault_at(key, "expected JSON in quotes, or a table for a form");
            Body::Empty
        }
    };
    match &body {
        Body::Empty => {}
        Body::Json(json) => texts(json, &mut |text| check(f, "body", text, used)),
        Body::Form(form) => {
            for (name, entry) in form {
                texts(entry, &mut |text| check(f, &format!("body.{name}"), text, used));
            }
        }
    }
    body
}

/// Every text in `json`.
fn texts(json: &Value, visit: &mut dyn FnMut(&str)) {
    match json {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, visit)),
        Value::Object(entries) => entries.values().for_each(|entry| texts(entry, visit)),
        _ => {}
    }
}

/// Notes the names of a template, and reports those there are not.
fn check(f: &mut Reader<'_>, key: &str, template: &str, used: &mut Vec<String>) {
    let known: Vec<&str> = OF_A_MESSAGE.into_iter().chain(OF_THE_GATEWAY).collect();
    for name in names(template) {
        if known.contains(&name) {
            used.push(name.to_owned());
        } else {
            f.fault(key, format!("{{{name}}}: {}", not_one_of(name, &known)));
        }
    }
}

/// The same for all messages: what a person wrote has no place in a header.
fn headers(f: &mut Reader<'_>, values: &Values, body: &Body, used: &mut Vec<String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let content_type = f.text("content_type").or_else(|| match body {
        Body::Empty => None,
        Body::Json(_) => Some("application/json".to_owned()),
        Body::Form(_) => Some("application/x-www-form-urlencoded".to_owned()),
    });
    match content_type.map(HeaderValue::try_from) {
        Some(Ok(value)) => drop(headers.insert(CONTENT_TYPE, value)),
        Some(Err(_)) => f.fault("content_type", "expected a media type such as application/json"),
        None => {}
    }
    for (name, template) in table(f, "headers") {
        let key = format!("headers.{name}");
        if let Some(name) = names(&template).find(|name| OF_A_MESSAGE.contains(name)) {
            f.fault(&key, format!("{{{name}}} cannot stand in a header"));
        }
        check(f, &key, &template, used);
        let value = HeaderValue::try_from(fill(&template, &|name| values.get(name)));
        match (name.parse::<HeaderName>(), value) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            (Err(_), _) => f.fault(&key, "is not the name of a header"),
            (_, Err(_)) => f.fault(&key, "expected printable characters, also in what {names} stand for"),
        }
    }
    headers
}
