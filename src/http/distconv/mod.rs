//! The distconv protocol (contract `distconv`): clients submit files to be transcoded, engines fetch
//! the work. Texts, statuses and the shape of jobs are those of the original; what each call does is
//! one call of the dispatcher.

mod routes;
mod wire;

pub(super) use routes::{is_own, routes, unauthorised};
