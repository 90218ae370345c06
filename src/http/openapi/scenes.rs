//! Films encoded scene by scene, as far as grav1 has no call for it.

use serde_json::json;

use super::build::{
    Described, any, field, get, list, number, object, optional, post, text, text_of,
};

pub(super) fn describe() -> Vec<Described> {
    let password = || optional("password", text_of("grav1.password, if there is one"));
    let told = |described: Described| {
        described
            .json(
                200,
                "The project, as grav1's `get_project` tells it",
                any("A project"),
            )
            .errors(&[
                (400, "The body is not understood"),
                (403, "The password is wrong"),
                (404, "There is no such project or scene"),
                (409, "It cannot be done as the project stands"),
                (413, "The body is too large"),
                (500, "The project cannot be kept"),
                (503, "The database does not answer"),
            ])
    };
    let project = |described: Described| {
        let described = described.part("project", "Id of the project", text());
        described.body(object([password()]), json!({}))
    };
    let again = post(
        "/api/v2/projects/{project}/scenes/{scene}/retry",
        "encodeSceneAgain",
        "Encode a scene again, perhaps with other parameters",
    );
    let again = again
        .part("project", "Id of the project", text())
        .part("scene", "Number of the scene", text())
        .body(
            object([
                password(),
                optional("encoder_params", text_of("Instead of the project's")),
            ]),
            json!({"encoder_params": "--cpu-used=4"}),
        );
    let worker = object([
        field("ip", text()),
        field(
            "last_contact_seconds",
            number("Since it last asked for a scene"),
        ),
        field(
            "scenes",
            list(object([field("project", text()), field("scene", text())])),
        ),
    ]);
    vec![
        get(
            "/api/v2/scene-workers",
            "sceneWorkers",
            "Machines whose grav1 workers asked for scenes within the last hour",
        )
        .json(200, "By address", object([field("workers", list(worker))])),
        told(project(post(
            "/api/v2/projects/{project}/pause",
            "pauseProject",
            "Hand out no more scenes of a project",
        ))),
        told(project(post(
            "/api/v2/projects/{project}/resume",
            "resumeProject",
            "Hand out a project's scenes again",
        ))),
        told(again),
    ]
}
