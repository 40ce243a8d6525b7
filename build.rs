//! How the program is linked.

use std::env::var;
use std::path::Path;
use std::{fs, io};

/// What `serve` hardly ever runs: the other commands, and what libraries do for a kubeconfig's
/// plugins, for keys under a passphrase, for YAML answers and for a panic. By words in symbols,
/// as the compiler makes them of paths. With a digit behind the name of what the standard library
/// brings: other symbols may end with such a name, as a copy that was made for its sake.
const COLD: [&str; 21] = [
    "addr2line[0-9]",
    "aho_corasick",
    "annotate_snippets",
    "backtrace_rs",
    "clap_complete",
    "clap_mangen",
    "depthgauge*emulator",
    "depthgauge4zero",
    "depthgauge..zero..",
    "gimli[0-9]",
    "granit_parser",
    "jsonpath_rust",
    "miniz_oxide[0-9]",
    "pest",
    "pkcs5",
    "ZN5pkcs8",
    "regex",
    "roff",
    "rustc_demangle[0-9]",
    "serde_saphyr",
    "yasna",
];

/// The modules of `cli` of which the same is true.
const COMMANDS: [&str; 8] = ["autoscaler", "check", "demo", "emulate", "explain", "get", "man", "told"];

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    // Addresses that the loader has to fill in are then a few KiB to read at the start and not
    // 600: memory that would stay resident. A linker that does not know it says so and goes on.
    // For musl hack/image says the same, to a linker that it calls without a compiler in between.
    let is = |name, value| var(name).is_ok_and(|is| is == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    // Asked only of the linker that Rust brings along, which is the default for this target.
    if is("TARGET", "x86_64-unknown-linux-gnu") {
        // One copy of functions whose code is the same, of which generics make many.
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
        let script = Path::new(&var("OUT_DIR").map_err(io::Error::other)?).join("cold.ld");
        fs::write(&script, together())?;
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{}", script.display());
    }
    Ok(())
}

/// A linker script that puts the cold functions together at the end. Linux reads code by
/// neighbourhoods of 64 KiB, so what is in between would stay resident.
fn together() -> String {
    // As a path by itself, and inside of a generic.
    let commands = COMMANDS
        .iter()
        .flat_map(|name| [format!("depthgauge*3cli{}{name}", name.len()), format!("depthgauge*cli..{name}..")]);
    let words = COLD.iter().map(|words| (*words).to_owned()).chain(commands);
    let cold: String = words.map(|words| format!("    *(.text.*{words}*)\n")).collect();
    format!("SECTIONS {{\n  .text.cold : {{\n{cold}  }}\n}} INSERT AFTER .text;\n")
}
