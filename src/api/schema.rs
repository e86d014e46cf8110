//! JSON Schemas of the wire's structs, derived from the same declarations as their serialization.

use serde_json::{Map, Value, json};

use super::Rfc3339Time;
use crate::domain::VerificationId;

/// A type that can describe itself as a JSON Schema.
pub trait Schema {
    /// The type's name in the document's `components.schemas`. `None`: the schema is inlined wherever it is used.
    const COMPONENT: Option<&'static str> = None;
    /// Whether the component's own schema already allows `null`.
    const NULLABLE: bool = false;

    /// The full schema.
    fn definition() -> Value;

    /// The schema as a member uses it: inlined, or a reference to the component.
    fn schema() -> Value {
        Self::COMPONENT.map_or_else(Self::definition, named)
    }

    /// The schema of a member that may be `null`.
    fn nullable() -> Value {
        if Self::NULLABLE { Self::schema() } else { nullable(Self::schema()) }
    }

    /// The schema of a member that is omitted when it has no value.
    fn when_present() -> Value {
        Self::schema()
    }
}

impl<T: Schema> Schema for Option<T> {
    fn definition() -> Value {
        T::nullable()
    }

    fn when_present() -> Value {
        T::schema()
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn definition() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }
}

macro_rules! scalars {
    ($($type:ty = $schema:tt;)*) => {
        $(impl Schema for $type {
            fn definition() -> Value {
                json!($schema)
            }
        })*
    };
}

scalars! {
    String = { "type": "string" };
    &'static str = { "type": "string" };
    bool = { "type": "boolean" };
    u16 = { "type": "integer" };
    u32 = { "type": "integer", "minimum": 0 };
    usize = { "type": "integer", "minimum": 0 };
    Rfc3339Time = { "type": "string", "format": "date-time" };
    VerificationId = { "type": "string", "format": "uuid" };
    // Any JSON.
    Value = {};
}

/// A reference to a component.
pub fn named(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Extends a schema so that it also allows `null`.
pub fn nullable(mut schema: Value) -> Value {
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    } else if schema["type"].is_string() && schema["type"] != "object" {
        schema["type"] = json!([schema["type"], "null"]);
    } else {
        schema = json!({ "anyOf": [schema, { "type": "null" }] });
    }
    schema
}

/// A schema that allows the words of a closed list.
pub fn one_of<T>(all: &[T], word: impl Fn(&T) -> &'static str) -> Value {
    json!({ "enum": all.iter().map(word).collect::<Value>() })
}

/// As [`one_of`], for a list of the words themselves.
pub fn words(words: &[&'static str]) -> Value {
    one_of(words, |word| word)
}

/// A schema that allows a single value.
pub fn constant(value: impl Into<Value>) -> Value {
    json!({ "const": value.into() })
}

/// The schemas of a field's type, for [`Object::member`].
pub struct Member {
    schema: fn() -> Value,
    definition: fn() -> Value,
    when_present: fn() -> Value,
}

impl Member {
    pub fn of<T: Schema>() -> Self {
        Self { schema: T::schema, definition: T::definition, when_present: T::when_present }
    }

    /// A schema that is more specific than the type's own.
    pub fn written(schema: fn() -> Value) -> Self {
        Self { schema, definition: schema, when_present: schema }
    }
}

/// Builds the schema of a struct, member by member.
#[derive(Default)]
pub struct Object {
    properties: Map<String, Value>,
    required: Vec<Value>,
}

impl Object {
    /// Adds a field. `serde` is its serde attribute: a field that may be skipped is not required, and a flattened field
    /// contributes its own members instead.
    pub fn member(&mut self, name: &str, about: &str, serde: &str, member: &Member) {
        if serde == "flatten" {
            let mut inner = (member.definition)();
            if let Value::Object(properties) = inner["properties"].take() {
                self.properties.extend(properties);
            }
            if let Value::Array(required) = inner["required"].take() {
                self.required.extend(required);
            }
            return;
        }
        let renamed = serde.strip_prefix("rename = \"").map(|rest| rest.trim_end_matches('"'));
        let name = renamed.unwrap_or(name);
        let skipped = serde.starts_with("skip_serializing_if");
        let schema = if skipped { (member.when_present)() } else { (member.schema)() };
        self.properties.insert(name.to_owned(), described(schema, about));
        if !skipped {
            self.required.push(name.into());
        }
    }

    pub fn finish(self, about: &str, nullable: bool) -> Value {
        let kind = if nullable { json!(["object", "null"]) } else { json!("object") };
        let schema = json!({ "type": kind, "required": self.required, "properties": self.properties });
        described(schema, about)
    }
}

/// Sets the description to a doc comment, with its lines trimmed and joined.
fn described(mut schema: Value, about: &str) -> Value {
    let about = about.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    if !about.is_empty() {
        schema["description"] = about.into();
    }
    schema
}

/// Declares structs that are serialized and describe themselves. The doc comments of a struct and of its fields become
/// the descriptions in the contract.
///
/// - `#[schema(expression)]` replaces the schema of the field's type with a more specific one.
/// - `#[serde(…)]` is `flatten`, `rename`, or `skip_serializing_if` for a field that may be omitted.
/// - `as "Name"` makes the struct a component of that name; `as nullable "Name"` one that may be `null` wherever it is
///   used.
macro_rules! wire {
    ($(
        $(#[doc = $about:literal])*
        pub struct $name:ident {$(
            $(#[doc = $doc:literal])*
            $(#[schema($schema:expr)])?
            $(#[serde($($serde:tt)+)])?
            pub $field:ident: $type:ty,
        )*} $(as $component:literal)? $(as nullable $nullable:literal)?
    )*) => {$(
        $(#[doc = $about])*
        #[derive(Clone, PartialEq, Debug, serde::Serialize)]
        pub struct $name {$(
            $(#[doc = $doc])*
            $(#[serde($($serde)+)])?
            pub $field: $type,
        )*}

        impl $crate::api::schema::Schema for $name {
            $(const COMPONENT: Option<&'static str> = Some($component);)?
            $(const COMPONENT: Option<&'static str> = Some($nullable);
            const NULLABLE: bool = true;)?

            fn definition() -> serde_json::Value {
                let mut object = $crate::api::schema::Object::default();
                $(object.member(
                    stringify!($field),
                    concat!($($doc, "\n",)* ""),
                    concat!($(stringify!($($serde)+),)? ""),
                    &wire!(@member $type $(, $schema)?),
                );)*
                object.finish(concat!($($about, "\n",)* ""), Self::NULLABLE)
            }
        }
    )*};
    (@member $type:ty) => { $crate::api::schema::Member::of::<$type>() };
    (@member $type:ty, $schema:expr) => { $crate::api::schema::Member::written(|| $schema) };
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "`wire!` declares what other rooms use")]
mod tests {
    use super::*;

    wire! {
        /// As the page
        /// shows it.
        pub struct Inner {
            pub here: u32,
        } as nullable "Inner"

        pub struct Outer {
            #[schema(words(&["a", "b"]))]
            #[serde(rename = "type")]
            pub kind: &'static str,
            /// Perhaps.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub absent: Option<bool>,
            pub or_null: Option<Rfc3339Time>,
            pub inner: Option<Inner>,
            #[serde(flatten)]
            pub flat: Inner,
        }
    }

    #[test]
    fn what_is_written_is_what_is_described() {
        let value = Outer { kind: "a", absent: None, or_null: None, inner: None, flat: Inner { here: 1 } };
        assert_eq!(json!(value), json!({ "type": "a", "or_null": null, "inner": null, "here": 1 }));
        assert_eq!(
            Outer::schema(),
            json!({
                "type": "object",
                "required": ["type", "or_null", "inner", "here"],
                "properties": {
                    "type": { "enum": ["a", "b"] },
                    "absent": { "type": "boolean", "description": "Perhaps." },
                    "or_null": { "type": ["string", "null"], "format": "date-time" },
                    "inner": { "$ref": "#/components/schemas/Inner" },
                    "here": { "type": "integer", "minimum": 0 },
                },
            })
        );
        assert_eq!(Inner::definition()["type"], json!(["object", "null"]));
        assert_eq!(Inner::definition()["description"], "As the page shows it.");
    }
}
