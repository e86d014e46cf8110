//! One row of the contract: an operation, described with a chain of calls.

use serde::Serialize;
use serde_json::{Value, json};

pub use super::area::{Area, Credentials};
use crate::{
    api::{limits, schema::Schema},
    domain::scope::Scope,
    http::problem::Code,
};

/// A query parameter or a header.
pub struct Parameter {
    pub name: &'static str,
    /// `query` or `header`.
    pub place: &'static str,
    pub schema: Value,
    /// Value that the example sends; `None` if it omits the parameter.
    pub example: Option<&'static str>,
    pub required: bool,
}

/// A request body.
pub struct RequestBody {
    pub media: &'static str,
    pub schema: Value,
    pub example: Value,
    pub required: bool,
}

/// A response other than a problem.
pub struct SuccessResponse {
    pub status: u16,
    pub about: &'static str,
    /// Empty if there is no body.
    pub media: &'static str,
    pub schema: Value,
    pub example: Value,
}

/// One method of one path.
pub struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    pub id: &'static str,
    pub area: Area,
    pub title: &'static str,
    pub about: &'static str,
    pub credentials: Credentials,
    /// Scope that an API token must have.
    pub scope: Option<Scope>,
    pub parameters: Vec<Parameter>,
    pub body: Option<RequestBody>,
    pub answers: Vec<SuccessResponse>,
    pub problems: Vec<Code>,
    /// Every response reports the state of rate limits.
    pub spends: bool,
}

/// An operation that needs an API token and uses the store, unless the calls that follow change this.
pub(super) fn operation(
    area: Area,
    method: &'static str,
    path: &'static str,
    id: &'static str,
    title: &'static str,
) -> Operation {
    Operation {
        method,
        path,
        id,
        area,
        title,
        about: "",
        credentials: Credentials::Token,
        scope: None,
        parameters: Vec::new(),
        body: None,
        answers: Vec::new(),
        spends: false,
        problems: vec![
            Code::Unauthenticated,
            Code::NotFound,
            Code::RateLimited,
            Code::InternalError,
            Code::StoreUnavailable,
            Code::TemporaryReducedCapacity,
        ],
    }
}

impl Operation {
    pub(super) fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// Requires a token with this scope.
    pub(super) fn scope(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self.problems(&[Code::InsufficientScope])
    }

    /// The required credentials, as text for the documentation.
    pub(super) fn needs(&self) -> String {
        let scope = self.scope.map(|scope| format!("; scope `{}`", scope.as_str()));
        format!("{}{}", self.credentials.about(), scope.unwrap_or_default())
    }

    /// Requires something other than an API token, so wrong tokens are not counted.
    pub(super) fn open_to(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self.without(&[Code::Unauthenticated, Code::RateLimited])
    }

    /// Every call counts against rate limits.
    pub(super) fn spends(mut self) -> Self {
        self.spends = true;
        self
    }

    pub(super) fn without(mut self, codes: &[Code]) -> Self {
        self.problems.retain(|code| !codes.contains(code));
        self
    }

    pub(super) fn problems(mut self, codes: &[Code]) -> Self {
        self.problems.extend(codes.iter().filter(|code| !self.problems.contains(code)).collect::<Vec<_>>());
        self.problems.sort_by_key(|code| code.status());
        self
    }

    /// Adds a query parameter, which the example sends if `example` is given.
    pub(super) fn query(mut self, name: &'static str, schema: Value, example: Option<&'static str>) -> Self {
        self.parameters.push(Parameter { name, place: "query", schema, example, required: false });
        self
    }

    /// Like [`Self::query`], for a required parameter.
    pub(super) fn required_query(mut self, name: &'static str, schema: Value, example: &'static str) -> Self {
        let example = Some(example);
        self.parameters.push(Parameter { name, place: "query", schema, example, required: true });
        self
    }

    pub(super) fn header(mut self, name: &'static str, schema: Value, example: Option<&'static str>) -> Self {
        self.parameters.push(Parameter { name, place: "header", schema, example, required: false });
        self
    }

    /// A JSON body. An empty body counts as `{}`, so the parser itself never requires one.
    pub(super) fn json(self, schema: Value, example: Value) -> Self {
        self.body("application/json", schema, example)
    }

    pub(super) fn body(mut self, media: &'static str, schema: Value, example: Value) -> Self {
        self.body = Some(RequestBody { media, schema, example, required: true });
        let codes = [Code::MalformedBody, Code::BodyTimeout, Code::BodyTooLarge, Code::InvalidRequest];
        let this = self.problems(&codes);
        if media == "application/json" { this.problems(&[Code::UnsupportedMediaType]) } else { this }
    }

    pub(super) fn optional_body(mut self) -> Self {
        if let Some(body) = &mut self.body {
            body.required = false;
        }
        self
    }

    /// Adds the `Idempotency-Key` header, which makes it safe to repeat the request. A key belongs to one request, so each
    /// example has a `key` of its own.
    pub(super) fn idempotent(self, key: &'static str) -> Self {
        self.header(
            "Idempotency-Key",
            json!({
                "type": "string", "minLength": limits::IDEMPOTENCY_KEY.start(), "maxLength": limits::IDEMPOTENCY_KEY.end(), "pattern": "^[!#-~]+$",
                "description": "The same key and body give the same answer for 24 hours; another body is refused.",
            }),
            Some(key),
        )
        .problems(&[Code::IdempotencyKeyReused, Code::InvalidRequest])
    }

    /// A response `{"success": true, "message": …, "data": <schema>}`, the envelope of the old API.
    pub(super) fn envelope<T: Schema + Serialize>(self, message: &'static str, example: &T) -> Self {
        let schema = json!({
            "type": "object",
            "required": ["success", "message", "data"],
            "properties": {
                "success": { "const": true },
                "message": { "type": "string", "description": "For people; do not compare." },
                "data": T::schema(),
            },
        });
        let example = json!({ "success": true, "message": message, "data": example });
        self.answer(200, "It worked", "application/json", schema, example)
    }

    /// Replaces a part of the schema of the last response, named by a JSON pointer.
    pub(super) fn narrow(mut self, pointer: &str, schema: Value) -> Self {
        let part = self.answers.last_mut().and_then(|answer| answer.schema.pointer_mut(pointer));
        *part.expect("the pointer names a part of the schema") = schema;
        self
    }

    pub(super) fn answer(
        mut self,
        status: u16,
        about: &'static str,
        media: &'static str,
        schema: Value,
        example: Value,
    ) -> Self {
        self.answers.push(SuccessResponse { status, about, media, schema, example });
        self
    }

    /// A response that is an HTML page.
    pub(super) fn page(self, status: u16, about: &'static str) -> Self {
        self.answer(status, about, "text/html", json!({ "type": "string" }), Value::Null)
    }

    /// Names of the path parameters, in order.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap_or_default())
    }

    /// The path of the example, with values in place of the parameters.
    pub fn example_path(&self) -> String {
        let mut path = self.path.to_owned();
        for name in self.path_parameters() {
            path = path.replace(&format!("{{{name}}}"), super::path_value(self.path, name));
        }
        path
    }

    /// Query parameters of the example.
    pub fn example_query(&self) -> Vec<(&'static str, &'static str)> {
        self.sent("query")
    }

    /// Headers of the example, apart from credentials and media type.
    pub fn example_headers(&self) -> Vec<(&'static str, &'static str)> {
        self.sent("header")
    }

    fn sent(&self, place: &str) -> Vec<(&'static str, &'static str)> {
        let here = self.parameters.iter().filter(|parameter| parameter.place == place);
        here.filter_map(|parameter| Some((parameter.name, parameter.example?))).collect()
    }
}
