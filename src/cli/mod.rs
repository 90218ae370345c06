//! The command line.

mod args;
mod bar;
mod client;
mod detect;
mod inspect;
mod interrupt;
mod run;
mod service;
mod submit;
mod token;
mod transcode;
mod whole;

pub use args::{
    Args, Command, ConfigArgs, ConfigCommand, EngineArgs, PlanArgs, ProbeArgs, ServeArgs,
    SubmitArgs, TranscodeArgs, WantedArgs,
};
pub use run::run;
