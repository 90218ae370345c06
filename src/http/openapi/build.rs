//! A small language for descriptions, over utoipa's types.

use serde_json::Value;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat,
    SchemaType, Type,
};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, ResponseBuilder};

use super::super::links::TOKEN_PARAMETER;

/// What a value looks like.
pub(in super::super) type Shape = RefOr<Schema>;

/// A field of an object.
pub(in super::super) struct Field {
    name: &'static str,
    shape: Shape,
    is_required: bool,
}

/// A field that is always there.
pub(in super::super) fn field(name: &'static str, shape: impl Into<Shape>) -> Field {
    Field {
        name,
        shape: shape.into(),
        is_required: true,
    }
}

/// A field that may be left out.
pub(in super::super) fn optional(name: &'static str, shape: impl Into<Shape>) -> Field {
    Field {
        is_required: false,
        ..field(name, shape)
    }
}

fn of(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

pub(in super::super) fn text() -> Shape {
    of(Type::String).into()
}

/// A text that says what it is.
pub(in super::super) fn text_of(description: &str) -> Shape {
    of(Type::String).description(Some(description)).into()
}

/// A text that is not empty.
pub(in super::super) fn some_text(description: &str) -> Shape {
    let text = of(Type::String).description(Some(description));
    text.min_length(Some(1)).into()
}

/// An id or token that is a UUID.
pub(in super::super) fn uuid(description: &str) -> Shape {
    let uuid = SchemaFormat::Custom("uuid".to_owned());
    let text = of(Type::String).description(Some(description));
    text.format(Some(uuid)).into()
}

/// A time as RFC 3339 writes it.
pub(in super::super) fn time() -> Shape {
    text_of("Time, RFC 3339")
}

pub(in super::super) fn flag() -> Shape {
    of(Type::Boolean).into()
}

pub(in super::super) fn number(description: &str) -> Shape {
    of(Type::Number).description(Some(description)).into()
}

/// A number within bounds.
pub(in super::super) fn number_in(description: &str, least: f64, most: f64) -> Shape {
    let number = of(Type::Number).description(Some(description));
    number.minimum(Some(least)).maximum(Some(most)).into()
}

/// A whole number that is not negative.
pub(in super::super) fn count(description: &str) -> Shape {
    let count = of(Type::Integer).description(Some(description));
    count.minimum(Some(0)).into()
}

/// A whole number within bounds.
pub(in super::super) fn whole(description: &str, least: i32, most: i32) -> Shape {
    let whole = of(Type::Integer).description(Some(description));
    whole.minimum(Some(least)).maximum(Some(most)).into()
}

/// One word of a list.
pub(in super::super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> Shape {
    of(Type::String).enum_values(Some(words)).into()
}

/// Anything.
pub(in super::super) fn any(description: &str) -> Shape {
    let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
    any.description(Some(description)).into()
}

pub(in super::super) fn list(of: impl Into<Shape>) -> Shape {
    ArrayBuilder::new().items(of.into()).into()
}

/// Two of a kind, such as the first and the last of a range.
pub(in super::super) fn pair(of: impl Into<Shape>) -> Shape {
    let two = ArrayBuilder::new().items(of.into());
    two.min_items(Some(2)).max_items(Some(2)).into()
}

pub(in super::super) fn or_null(shape: impl Into<Shape>) -> Shape {
    let null = of(Type::Null).build();
    OneOfBuilder::new().item(shape.into()).item(null).into()
}

/// One of the components.
pub(in super::super) fn named(component: &str) -> Shape {
    Ref::from_schema_name(component).into()
}

/// An object whose fields are known.
pub(in super::super) fn object(fields: impl IntoIterator<Item = Field>) -> Shape {
    let mut object = of(Type::Object);
    for field in fields {
        if field.is_required {
            object = object.required(field.name);
        }
        object = object.property(field.name, field.shape);
    }
    object.into()
}

/// An object whose keys are names of things.
pub(in super::super) fn map(description: &str, values: Shape) -> Shape {
    let map = of(Type::Object).description(Some(description));
    map.additional_properties(Some(AdditionalProperties::RefOr(values)))
        .into()
}

/// A description of one route and method.
pub(in super::super) struct Described {
    pub(super) path: &'static str,
    pub(super) method: HttpMethod,
    operation: OperationBuilder,
    is_open: bool,
}

macro_rules! methods {
    ($($name:ident $method:ident)*) => {$(
        /// The description of a route; `id` is the name of a client's function for it.
        pub(in super::super) fn $name(path: &'static str, id: &str, summary: &str) -> Described {
            Described::new(HttpMethod::$method, path, id, summary)
        }
    )*};
}

methods! { get Get post Post put Put delete Delete }

impl Described {
    fn new(method: HttpMethod, path: &'static str, id: &str, summary: &str) -> Self {
        let operation = OperationBuilder::new();
        let operation = operation.operation_id(Some(id)).summary(Some(summary));
        Described {
            path,
            method,
            operation,
            is_open: false,
        }
    }

    fn with(mut self, change: impl FnOnce(OperationBuilder) -> OperationBuilder) -> Self {
        self.operation = change(self.operation);
        self
    }

    /// What the summary has no room for.
    pub(in super::super) fn about(self, description: &str) -> Self {
        self.with(|o| o.description(Some(description)))
    }

    /// Needs no key.
    pub(in super::super) fn open(mut self) -> Self {
        self.is_open = true;
        self
    }

    fn parameter(self, place: ParameterIn, name: &str, text: &str, shape: Shape) -> Self {
        let required = match place {
            ParameterIn::Path => Required::True,
            _ => Required::False,
        };
        let parameter = ParameterBuilder::new().name(name).parameter_in(place);
        let parameter: Parameter = parameter
            .required(required)
            .description(Some(text))
            .schema(Some(shape))
            .build();
        self.with(|o| o.parameter(parameter))
    }

    /// A part of the path.
    pub(in super::super) fn part(self, name: &str, text: &str, shape: Shape) -> Self {
        self.parameter(ParameterIn::Path, name, text, shape)
    }

    /// A parameter of the query that may be left out.
    pub(in super::super) fn query(self, name: &str, text: &str, shape: Shape) -> Self {
        self.parameter(ParameterIn::Query, name, text, shape)
    }

    /// The parameter that addresses which were handed out carry.
    pub(in super::super) fn signed(self) -> Self {
        let what = "Signature of an address that was handed out, instead of the key";
        self.query(TOKEN_PARAMETER, what, text())
    }

    /// A header that may be left out.
    pub(in super::super) fn header(self, name: &str, text: &str, shape: Shape) -> Self {
        self.parameter(ParameterIn::Header, name, text, shape)
    }

    /// A parameter of the query that must be there.
    pub(in super::super) fn required_query(self, name: &str, text: &str, shape: Shape) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::True)
            .description(Some(text))
            .schema(Some(shape))
            .build();
        self.with(|o| o.parameter(parameter))
    }

    /// The body of the request, as JSON.
    pub(in super::super) fn body(self, shape: Shape, example: Value) -> Self {
        let content = ContentBuilder::new().schema(Some(shape));
        let content = content.example(Some(example)).build();
        self.carries("application/json", content)
    }

    /// The body of the request, as bytes.
    pub(in super::super) fn upload(self, kind: &str) -> Self {
        let content = ContentBuilder::new().schema(Some(text())).build();
        self.carries(kind, content)
    }

    fn carries(self, kind: &str, content: utoipa::openapi::Content) -> Self {
        let body = RequestBodyBuilder::new().content(kind, content);
        let body = body.required(Some(Required::True)).build();
        self.with(|o| o.request_body(Some(body)))
    }

    /// An answer with a JSON body.
    pub(in super::super) fn json(self, status: u16, text: &str, shape: Shape) -> Self {
        self.answer(status, text, "application/json", shape, None)
    }

    /// The same with an example.
    pub(in super::super) fn example(
        self,
        status: u16,
        text: &str,
        shape: Shape,
        example: Value,
    ) -> Self {
        self.answer(status, text, "application/json", shape, Some(example))
    }

    /// An answer with a body of another kind.
    pub(in super::super) fn bytes(self, status: u16, about: &str, kind: &str) -> Self {
        self.answer(status, about, kind, text(), None)
    }

    /// An answer of server-sent events with these names, whose data is JSON.
    pub(in super::super) fn events(self, status: u16, about: &str, names: &[&str]) -> Self {
        let event = object([
            field("event", one_of(names.iter().copied())),
            field("data", text_of("JSON")),
        ]);
        self.answer(status, about, "text/event-stream", event, None)
    }

    /// An answer without a body.
    pub(in super::super) fn empty(self, status: u16, text: &str) -> Self {
        let response = ResponseBuilder::new().description(text).build();
        self.with(|o| o.response(status.to_string(), response))
    }

    /// Answers with one of several kinds of body.
    pub(in super::super) fn kinds(self, status: u16, about: &str, kinds: &[&str]) -> Self {
        let mut response = ResponseBuilder::new().description(about);
        for kind in kinds {
            let content = ContentBuilder::new().schema(Some(text())).build();
            response = response.content(*kind, content);
        }
        let response = response.build();
        self.with(|o| o.response(status.to_string(), response))
    }

    fn answer(
        self,
        status: u16,
        text: &str,
        kind: &str,
        shape: Shape,
        example: Option<Value>,
    ) -> Self {
        let content = ContentBuilder::new().schema(Some(shape));
        let content = content.example(example).build();
        let response = ResponseBuilder::new().description(text);
        let response = response.content(kind, content).build();
        self.with(|o| o.response(status.to_string(), response))
    }

    /// Refusals in the shape of everything that is ours.
    pub(in super::super) fn errors(self, statuses: &[(u16, &str)]) -> Self {
        statuses.iter().fold(self, |described, (status, text)| {
            described.json(*status, text, named("Error"))
        })
    }

    /// The finished operation, in the group `tag`.
    pub(super) fn operation(self, tag: &str) -> Operation {
        let operation = self.operation.tag(tag);
        match self.is_open {
            true => operation.security(SecurityRequirement::default()).build(),
            false => {
                let told = "A gateway with security.api_key was not given its key";
                let content = ContentBuilder::new().schema(Some(named("Error"))).build();
                let refused = ResponseBuilder::new().description(told);
                let refused = refused.content("application/json", content).build();
                operation.response("401", refused).build()
            }
        }
    }
}
