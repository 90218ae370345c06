//! The page at `/`: the built files of `web/dist`, carried inside the binary.
//!
//! The page is built with `npm ci && npm run build` in `web/`, before the gateway. Without
//! it the gateway still builds and runs; `/` then says how to get the page.
//!
//! Everything is served with an entity tag and a strict Content-Security-Policy: the page
//! asks nothing of any other host, and runs no inline script or style.

mod bundle;
mod respond;
mod routes;

pub use respond::{asset, index};
pub use routes::routes;
