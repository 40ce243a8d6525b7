//! How the program is linked.

use std::env::var;
use std::path::Path;
use std::{fs, io};

/// What `serve` hardly ever runs: the other commands, and what libraries do for a kubeconfig's
/// plugins, for keys under a passphrase, for more than a few to be sorted and for a panic. By words
/// in symbols, as the compiler makes them of paths. With a digit behind the name of what the
/// standard library brings: other symbols may end with such a name, as a copy that was made for its
/// sake.
///
/// No word of which anything is run all the time: one function keeps 64 KiB resident. Which are
/// run is told by callgrind of a build with symbols, which finds no names in these sections.
const COLD: [&str; 37] = [
    "3aes8",
    "MetricSpec",
    "MetricStatus",
    "OptionVisitor",
    "PartialObjectMeta",
    "ZN4sha2",
    "ZN5pkcs8",
    "addr2line[0-9]",
    "aho_corasick",
    "annotate_snippets",
    "backtrace_rs",
    "btree4node",
    "clap_builder5error",
    "clap_complete",
    "clap_mangen",
    "core5slice4sort6stable",
    "depthgauge*admin6status4",
    "depthgauge*emulator",
    "depthgauge..zero..",
    "depthgauge4zero",
    "gimli[0-9]",
    "granit_parser",
    "help_template",
    "instance_principal",
    "jsonpath_rust",
    "miniz_oxide[0-9]",
    "mldsa",
    "pest",
    "pkcs5",
    "regex",
    "roff",
    "rustc_demangle[0-9]",
    "rustls*fmt..Debug",
    "rustls6client3ech",
    "serde_saphyr",
    "std7process",
    "strtime",
];

/// The modules of `cli` of which the same is true.
const COMMANDS: [&str; 11] =
    ["autoscaler", "check", "completion", "config", "demo", "emulate", "explain", "get", "man", "told", "unregister"];

/// What is run all the same: flags of the other commands, which every start puts together, the
/// YAML in which objects are applied, and small code that stands for equal code elsewhere.
const WARM: [&str; 5] =
    ["clap_builder..derive", "drop_in_place$LT$core..option", "raw_vec", "serde_saphyr..ser..", "serde_saphyr3ser"];

/// Files of aws-lc, most of them assembler: curves and ciphers that hardly any peer asks for.
const CURVES: [&str; 7] = ["chacha", "edwards25519", "mldsa", "p256_montj", "p384", "p521", "sha1-"];

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
/// neighbourhoods of 64 KiB, so what is in between would stay resident. The first pattern that
/// fits takes a function.
fn together() -> String {
    let functions = |word: &str| format!("    *(.text.*{word}*)\n");
    let warm: String = WARM.into_iter().map(functions).collect();
    let words: String = COLD.into_iter().map(functions).collect();
    // As a path by itself, and inside of a generic.
    let forms = |name: &str| {
        functions(&format!("depthgauge*3cli{}{name}", name.len())) + &functions(&format!("depthgauge*cli..{name}.."))
    };
    let commands: String = COMMANDS.into_iter().map(forms).collect();
    let files: String = CURVES.iter().map(|name| format!("    *aws_lc*:*{name}*(.text .text.*)\n")).collect();
    format!(
        "SECTIONS {{\n  .text.warm : {{\n{warm}  }}\n  .text.cold : {{\n{words}{commands}{files}  }}\n}} INSERT AFTER .text;\n"
    )
}
