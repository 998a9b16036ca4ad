//! Prints the description of the API: `cargo xtask openapi` writes it to `openapi/charter.json`.

fn main() -> std::io::Result<()> {
    std::io::Write::write_all(&mut std::io::stdout(), charter_web::openapi().as_bytes())
}
