//! What the program is made of: packages of the registry, under licences that ask for little.

use std::process::Command;

use serde_json::Value;

use super::project::root;

/// Licences that allow any use and do not reach into the code that uses the package.
const PERMISSIVE: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether a choice that an SPDX expression leaves has permissive licences alone.
fn is_permissive(expression: &str) -> bool {
    expression.split(" AND ").all(|part| {
        let choices = part.trim_matches(['(', ')'].as_slice()).replace('/', " OR ");
        choices.split(" OR ").any(|licence| PERMISSIVE.contains(&licence))
    })
}

/// The packages of a build for this machine, with all features.
fn packages() -> Vec<Value> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .args(["--filter-platform", &host])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn licences_are_permissive_and_sources_are_the_registry() {
    let packages = packages();
    assert!(packages.len() > 200, "{}", packages.len());
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_permissive(licence), "{name} has the licence `{licence}`");
        let source = package["source"].as_str().unwrap_or_default();
        assert!(name == "fsa-bank" || source.starts_with("registry+"), "{name}: {source}");
    }
}

#[test]
fn licences_are_read_as_choices() {
    for yes in ["MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert!(is_permissive(yes), "{yes}");
    }
    for no in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR AGPL-3.0) AND MIT", "MPL-2.0"] {
        assert!(!is_permissive(no), "{no}");
    }
}
