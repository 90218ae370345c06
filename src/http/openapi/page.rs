//! `GET /docs`: the description as a page. It is written here, once, without a script, so that it shows
//! everything under the strictest content policy and to every browser.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, header};
use serde_json::Value;

use super::document;

const STYLE: &str = include_str!("page.css");
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'self'";

/// What needs no key: it says nothing of this gateway.
pub(in super::super) fn is_page(path: &str) -> bool {
    matches!(path, "/docs" | "/docs/style.css")
}

/// The page.
pub(in super::super) async fn docs() -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        let document = serde_json::to_value(document()).unwrap_or_default();
        page(&document)
    });
    (head("text/html; charset=utf-8"), PAGE.as_str()).into_response()
}

/// Its style.
pub(in super::super) async fn style() -> Response {
    (head("text/css; charset=utf-8"), STYLE).into_response()
}

fn head(kind: &'static str) -> [(HeaderName, &'static str); 5] {
    [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ]
}

/// Text that means itself in HTML.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}

/// The same, with `code` between backquotes.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let part = |(nth, part): (usize, &str)| match nth % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    };
    parts.map(part).collect()
}

fn words<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Writing into a text cannot fail.
macro_rules! put {
    ($page:expr, $($what:tt)*) => { let _ = write!($page, $($what)*); };
}

fn page(document: &Value) -> String {
    let info = &document["info"];
    let mut page = String::new();
    put!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
        <meta name=\"color-scheme\" content=\"dark light\">\n<title>{0}: API</title>\n\
        <link rel=\"stylesheet\" href=\"/docs/style.css\">\n<main>\n<h1>{0} {1}</h1>\n<p>{2}</p>\n\
        <p>The same for programs: <a href=\"/openapi.json\">/openapi.json</a> (OpenAPI {3}).</p>\n",
        escaped(words(info, "title")),
        escaped(words(info, "version")),
        prose(words(info, "description")),
        escaped(words(document, "openapi")),
    );
    access(&mut page, document);
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = words(tag, "name");
        put!(
            page,
            "<h2>{}</h2>\n<p>{}</p>\n",
            escaped(name),
            prose(words(tag, "description"))
        );
        for (path, method, operation) in operations(document) {
            if operation["tags"][0] == name {
                call(&mut page, path, method, operation);
            }
        }
    }
    put!(page, "<h2>Shapes</h2>\n");
    for (name, shape) in document["components"]["schemas"]
        .as_object()
        .into_iter()
        .flatten()
    {
        put!(page, "<section id=\"{0}\"><h3>{0}</h3>\n", escaped(name));
        fields(&mut page, shape);
        put!(page, "</section>\n");
    }
    put!(page, "</main>\n</html>\n");
    page
}

fn access(page: &mut String, document: &Value) {
    put!(
        page,
        "<p>A gateway with a key (<code>security.api_key</code>) takes it as "
    );
    let schemes = document["components"]["securitySchemes"].as_object();
    for (nth, scheme) in schemes.into_iter().flat_map(|s| s.values()).enumerate() {
        let comma = if nth == 0 { "" } else { ", or " };
        match words(scheme, "in") {
            "" => {
                put!(page, "{comma}<code>Authorization: Bearer KEY</code>");
            }
            place => {
                put!(
                    page,
                    "{comma}{} <code>{}</code>",
                    escaped(place),
                    escaped(words(scheme, "name"))
                );
            }
        }
    }
    put!(page, ".</p>\n");
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let item = item.as_object().into_iter().flatten();
        item.map(move |(method, operation)| (path, method, operation))
    })
}

fn call(page: &mut String, path: &str, method: &str, operation: &Value) {
    put!(
        page,
        "<details id=\"{}\"><summary><b>{}</b> <code>{}</code> {}</summary>\n",
        escaped(words(operation, "operationId")),
        escaped(&method.to_uppercase()),
        escaped(path),
        prose(words(operation, "summary")),
    );
    if let Some(about) = operation["description"].as_str() {
        put!(page, "<p>{}</p>\n", prose(about));
    }
    if operation["security"].is_array() {
        put!(page, "<p>Needs no key.</p>\n");
    }
    let parameters = operation["parameters"].as_array();
    if let Some(parameters) = parameters {
        put!(page, "<table><caption>Parameters</caption>\n");
        for parameter in parameters {
            row(
                page,
                words(parameter, "name"),
                parameter["required"] == true,
                words(parameter, "in"),
                &parameter["schema"],
                words(parameter, "description"),
            );
        }
        put!(page, "</table>\n");
    }
    for (kind, content) in operation["requestBody"]["content"]
        .as_object()
        .into_iter()
        .flatten()
    {
        put!(page, "<h4>Body: <code>{}</code></h4>\n", escaped(kind));
        content_of(page, content);
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        put!(
            page,
            "<h4>{}: {}</h4>\n",
            escaped(status),
            prose(words(response, "description"))
        );
        for (kind, content) in response["content"].as_object().into_iter().flatten() {
            put!(page, "<p><code>{}</code> ", escaped(kind));
            match status.starts_with('2') && kind == "application/json" {
                true => {
                    put!(page, "</p>\n");
                    content_of(page, content);
                }
                false => {
                    put!(page, "{}</p>\n", name_of(&content["schema"]));
                }
            }
        }
    }
    put!(page, "</details>\n");
}

fn content_of(page: &mut String, content: &Value) {
    match content["schema"]["properties"].is_object() {
        true => fields(page, &content["schema"]),
        false => {
            put!(page, "<p>{}</p>\n", name_of(&content["schema"]));
        }
    }
    if !content["example"].is_null() {
        let example = serde_json::to_string_pretty(&content["example"]).unwrap_or_default();
        put!(page, "<pre>{}</pre>\n", escaped(&example));
    }
}

fn fields(page: &mut String, shape: &Value) {
    put!(page, "<table>\n");
    let required = |name: &str| {
        let all = shape["required"].as_array();
        all.is_some_and(|all| all.iter().any(|r| r == name))
    };
    for (name, shape) in shape["properties"].as_object().into_iter().flatten() {
        row(page, name, required(name), "", shape, &about(shape));
    }
    put!(page, "</table>\n");
}

/// What a shape says of itself, or the one that it may be beside null.
fn about(shape: &Value) -> String {
    let inner = &shape["oneOf"][0];
    let own = words(shape, "description");
    match own.is_empty() {
        true => words(inner, "description").to_owned(),
        false => own.to_owned(),
    }
}

fn row(page: &mut String, name: &str, required: bool, place: &str, shape: &Value, text: &str) {
    let need = if required { "" } else { "optional " };
    put!(
        page,
        "<tr><th scope=\"row\"><code>{}</code><td>{need}{} {}<td>{}\n",
        escaped(name),
        escaped(place),
        name_of(shape),
        prose(text),
    );
    if shape["properties"].is_object() || shape["oneOf"][0]["properties"].is_object() {
        let inner = match shape["properties"].is_object() {
            true => shape,
            false => &shape["oneOf"][0],
        };
        put!(page, "<tr><td><td colspan=\"2\">");
        fields(page, inner);
    }
}

/// A shape in a few words.
fn name_of(shape: &Value) -> String {
    if let Some(to) = shape["$ref"].as_str() {
        let name = escaped(to.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    if let Some(either) = shape["oneOf"].as_array() {
        let names: Vec<String> = either.iter().map(name_of).collect();
        return names.join(" or ");
    }
    if let Some(words) = shape["enum"].as_array() {
        let words = words.iter().filter_map(Value::as_str);
        let words: Vec<String> = words
            .map(|w| format!("<code>{}</code>", escaped(w)))
            .collect();
        return words.join(" ");
    }
    let bounds = match (&shape["minimum"], &shape["maximum"]) {
        (Value::Number(least), Value::Number(most)) => format!(" {least} to {most}"),
        _ => String::new(),
    };
    match words(shape, "type") {
        "" => "anything".to_owned(),
        "array" => format!("list of {}", name_of(&shape["items"])),
        "string" => "text".to_owned(),
        "boolean" => "true or false".to_owned(),
        kind => format!("{}{bounds}", escaped(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_and_every_shape_is_on_the_page() {
        let document = serde_json::to_value(document()).unwrap();
        let page = page(&document);
        let mut calls = 0;
        for (path, _, operation) in operations(&document) {
            let id = format!("<details id=\"{}\">", words(operation, "operationId"));
            assert!(
                page.contains(&id) && page.contains(&escaped(path)),
                "{path}"
            );
            calls += 1;
        }
        assert!(calls > 30, "{calls}");
        for name in document["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
        {
            assert!(page.contains(&format!("<section id=\"{name}\">")), "{name}");
        }
        // Every link leads somewhere on it.
        for link in page.split("href=\"#").skip(1) {
            let name = link.split('"').next().unwrap();
            assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
        }
        assert!(!page.contains("<script") && !page.contains("style=") && !page.contains("://\""));
    }

    #[test]
    fn what_is_described_cannot_write_html() {
        assert_eq!(
            prose("a<b `c>&\"` d"),
            "a&lt;b <code>c&gt;&amp;&quot;</code> d"
        );
    }
}
