#[cfg(test)]
mod architecture;
