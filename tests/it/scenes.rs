//! Films encoded scene by scene: grav1's front door, its workers of both generations, our own engines.

mod film;
mod protocol;

mod worker;
