//! Tells runtime-core's build script where this crate's source lies: init is compiled against the same files,
//! without std and without the writer.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::metadata=src={}/src/lib.rs",
        std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default()
    );
}
