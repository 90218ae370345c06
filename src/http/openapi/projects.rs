//! Films that are encoded scene by scene, as far as grav1 has no name for it.

use super::build::{Described, any, post, text};

/// The calls.
pub(super) fn describe() -> Vec<Described> {
    let none = (404, "There is no such project or scene");
    let password = (403, "The field password is not that of grav1.password");
    let project = |d: Described| {
        d.part("project", "Id of the project", text())
            .json(200, "The project", any("As grav1's get_project gives it"))
            .errors(&[none, password])
    };
    vec![
        project(post(
            "/api/v2/projects/{project}/pause",
            "pauseProject",
            "Hand out no more scenes; those under way are taken",
        )),
        project(post(
            "/api/v2/projects/{project}/resume",
            "resumeProject",
            "Hand out scenes again",
        )),
        project(post(
            "/api/v2/projects/{project}/scenes/{scene}/retry",
            "retryScene",
            "Encode a scene once more, with encoder_params of its own if the body has them",
        ))
        .part("scene", "Number of the scene", text())
        .errors(&[(409, "The project is still being split")]),
    ]
}
