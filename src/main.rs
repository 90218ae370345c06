//! The `ghoststream` program.

fn main() -> std::process::ExitCode {
    ghoststream::cli::run()
}
