//! The command line.

mod args;
mod inspect;
mod run;

pub use args::{Args, Command, ConfigArgs, ConfigCommand, PlanArgs, ProbeArgs, ServeArgs};
pub use run::run;
