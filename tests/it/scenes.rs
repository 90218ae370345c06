//! Films encoded scene by scene: grav1's front door, its workers of both generations, our own engines.

mod bad_input;
mod engines;
mod film;
mod grain;
mod pictures;
mod protocol;
mod restarts;
mod surroundings;
mod web;
mod worker;
