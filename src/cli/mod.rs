//! The command line.

mod args;
mod client;
mod detect;
mod inspect;
mod run;
mod submit;
mod token;

pub use args::{
    Args, Command, ConfigArgs, ConfigCommand, EngineArgs, PlanArgs, ProbeArgs, ServeArgs,
    SubmitArgs, WantedArgs,
};
pub use run::run;
