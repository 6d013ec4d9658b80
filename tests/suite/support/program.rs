//! The program, called as its users call it.

use std::path::Path;
use std::process::{Command, Output};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_fsa-bank");

pub fn call(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).env("COLUMNS", "100").output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The result of a call that must succeed, of its line of JSON.
#[cfg(any(feature = "onnx", feature = "torch"))]
pub fn json(args: &[&str]) -> serde_json::Value {
    let output = call(&[&["-q", "--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A path as an argument.
pub fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}
