//! Makes the engine's executable find libtorch at run time: libtorch's folder becomes its rpath,
//! and where libtorch has CUDA, `libtorch_cuda` is linked although no symbol of it is referred to
//! (the linker would drop it, and the GPU with it).

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Set by torch-sys (`links = "tch"`), which is a dependency only with the `torch` feature.
    let Ok(lib_dir) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        return;
    };
    println!("cargo:rustc-env=LIBTORCH_LIB={lib_dir}");
    let engine = |arg: &str| println!("cargo:rustc-link-arg-bin=fsa-bank-torch={arg}");
    engine(&format!("-Wl,-rpath,{lib_dir}"));
    if Path::new(&lib_dir).join("libtorch_cuda.so").exists() {
        engine("-Wl,--no-as-needed");
        engine("-ltorch_cuda");
        engine("-Wl,--as-needed");
    }
}
