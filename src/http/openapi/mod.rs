//! The description of our own calls and GhostStream's, as OpenAPI 3.1, and a page that shows it.
//!
//! Each group of routes describes itself in a function that [`GROUPS`] lists; names of closed lists come
//! from the types that read them. What is said is held against the gateway by tests: every route is
//! described here or listed in [`FOREIGN`], every method of it, and live answers hold no field that is
//! not described and all that are. `utoipa` gives the document's types; its macros are not used,
//! because most handlers read and write JSON in the words of a contract, not by types.

mod build;
mod media;
mod operations;
mod page;
mod queue;
mod scenes;
mod streams;

use axum::response::{IntoResponse, Response};
use http::header;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathsBuilder,
};

use build::{Described, any, field, list, map, object, optional, or_null, text, text_of};

pub(super) use page::{docs, is_page, style};

/// A part of the document.
struct Group {
    name: &'static str,
    about: &'static str,
    describe: fn() -> Vec<Described>,
    /// Shapes that several of its calls share.
    shapes: fn() -> Vec<(&'static str, build::Shape)>,
}

/// All parts, in the order in which they are read.
const GROUPS: &[Group] = &[
    Group {
        name: "Streams",
        about: "Playing a source while it is made, and making files of it: GhostStream's calls.",
        describe: streams::describe,
        shapes: streams::shapes,
    },
    Group {
        name: "Pictures",
        about: "Pictures, overviews, descriptions and WebM of a source, each by one GET.",
        describe: media::describe,
        shapes: Vec::new,
    },
    Group {
        name: "Queue",
        about: "Queued work of every kind, and the engines that do it.",
        describe: queue::describe,
        shapes: queue::shapes,
    },
    Group {
        name: "Scenes",
        about: "Films encoded scene by scene: what grav1's own calls do not say.",
        describe: scenes::describe,
        shapes: Vec::new,
    },
    Group {
        name: "Operations",
        about: "How the gateway is: health, capabilities, figures, this description.",
        describe: operations::describe,
        shapes: Vec::new,
    },
];

/// Second names of described routes, which clients of the originals use.
pub const ALIASES: &[(&str, &str)] = &[
    ("/health", "/api/health"),
    ("/capabilities", "/api/capabilities"),
    ("/api/live", "/healthz"),
    ("/api/ready", "/readyz"),
    ("/transcode", "/api/transcode/start"),
    ("/transcode/{id}", "/api/transcode/{id}/status"),
    ("/video", "/thumb"),
];

/// Where routes begin that are another system's protocol, described by that system, and files of the
/// page. A route that is neither described nor listed here fails a test.
pub const FOREIGN: &[(&str, &str)] = &[
    ("/jobs", "distconv"),
    ("/engines", "distconv"),
    ("/assign_job", "distconv"),
    ("/storage_pools", "distconv"),
    ("/api/v1/runners", "PeerTube runners"),
    ("//api/v1/runners", "PeerTube runners"),
    ("/socket.io", "PeerTube runners"),
    ("/video/", "Transcode API"),
    ("/videos", "Transcode API"),
    ("/api/get_projects", "grav1"),
    ("/api/get_project", "grav1"),
    ("/api/add_project", "grav1"),
    ("/api/modify", "grav1"),
    ("/api/modify_project", "grav1"),
    ("/api/delete_project", "grav1"),
    ("/api/get_job", "grav1"),
    ("/api/is_job", "grav1"),
    ("/api/get_grain", "grav1"),
    ("/api/get_info", "grav1"),
    ("/api/get_home", "grav1"),
    ("/api/list_directory", "grav1"),
    ("/finish_job", "grav1"),
    ("/cancel_job", "grav1"),
    ("/scene", "grav1"),
    ("/completed", "grav1"),
    ("/grav1", "grav1"),
    ("/assets/", "the page"),
    ("/favicon.svg", "the page"),
    ("/docs/", "the page"),
];

/// The document; the same at each call.
pub(super) fn document() -> OpenApi {
    let mut paths = PathsBuilder::new();
    let mut components = ComponentsBuilder::new();
    let mut tags = Vec::new();
    for group in GROUPS {
        tags.push(
            TagBuilder::new()
                .name(group.name)
                .description(Some(group.about))
                .build(),
        );
        for described in (group.describe)() {
            let (path, method) = (described.path, described.method.clone());
            let operation = described.operation(group.name);
            paths = paths.path(path, PathItem::new(method, operation));
        }
        for (name, shape) in (group.shapes)() {
            components = components.schema(name, shape);
        }
    }
    for (name, shape) in errors() {
        components = components.schema(name, shape);
    }
    for (name, scheme) in security_schemes() {
        components = components.security_scheme(name, scheme);
    }
    let none: [String; 0] = [];
    let mut security = vec![SecurityRequirement::default()];
    security.extend(
        ["header", "bearer", "query"].map(|name| SecurityRequirement::new(name, none.clone())),
    );
    OpenApiBuilder::new()
        .info(info())
        .paths(paths.build())
        .components(Some(components.build()))
        .security(Some(security))
        .tags(Some(tags))
        .build()
}

fn info() -> utoipa::openapi::Info {
    let about = "Streaming media gateway: any video URL or file becomes a stream that plays at once and \
        seeks anywhere. Other systems' protocols that the gateway speaks (distconv, PeerTube runners, \
        grav1) are described by those systems. `ws://.../ws/progress` tells the progress of jobs: send \
        `{\"type\": \"subscribe\", \"job_ids\": [...]}`.";
    let license = LicenseBuilder::new()
        .name("MIT OR Apache-2.0")
        .identifier(Some("MIT OR Apache-2.0"))
        .build();
    InfoBuilder::new()
        .title("GhostStream")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(about))
        .license(Some(license))
        .build()
}

fn security_schemes() -> [(&'static str, SecurityScheme); 3] {
    let key = |name| ApiKeyValue::with_description(name, "security.api_key of the gateway");
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    [
        (
            "header",
            SecurityScheme::ApiKey(ApiKey::Header(key("X-API-Key"))),
        ),
        ("bearer", SecurityScheme::Http(bearer.build())),
        (
            "query",
            SecurityScheme::ApiKey(ApiKey::Query(key("api_key"))),
        ),
    ]
}

/// The shapes of refusals.
fn errors() -> [(&'static str, build::Shape); 3] {
    let told = text_of("What was wrong, and which field or file");
    let problem = object([
        field("type", text_of("Kind of the problem, as pydantic names it")),
        field("loc", list(any("A step on the way to the field"))),
        field("msg", text()),
        field("input", any("What was sent, as far as it helps")),
        optional("ctx", map("What was expected", any("A text"))),
    ]);
    [
        ("Error", object([field("detail", told.clone())])),
        ("InvalidRequest", object([field("detail", list(problem))])),
        ("QueryError", object([field("Error", told)])),
    ]
}

/// `GET /openapi.json`.
pub(super) async fn json() -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, text_of_document()).into_response()
}

/// The document as JSON text, for people and programs.
pub fn text_of_document() -> String {
    let document = document();
    // Plain data: there is nothing in it that could fail to be written.
    document.to_pretty_json().unwrap_or_default()
}

/// A job's id, a name of a stream's file, and the like.
fn job_id() -> build::Shape {
    text_of("Id of the job")
}

/// A text that may be missing.
fn maybe_text() -> build::Shape {
    or_null(text())
}
