//! The command line.

mod args;
mod client;
mod detect;
mod inspect;
mod run;
mod service;
mod submit;

pub use args::{
    Args, Command, ConfigArgs, ConfigCommand, EngineArgs, PlanArgs, ProbeArgs, ServeArgs,
    SubmitArgs, WantedArgs,
};
pub use run::run;
