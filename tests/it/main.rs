#[cfg(test)]
mod package;

fn main() {}
