//! From a device's name to the device, or a clear word on why not.

use fsa_bank::backbone::{BackboneError, EngineOptions};
use fsa_bank::config::Arithmetic;
use tch::{Cuda, Device, Kind};

/// Resolves `auto`, `cpu`, `cuda` and `cuda:N`.
pub fn resolve(name: &str) -> Result<Device, BackboneError> {
    let missing =
        |found: String, remedy| BackboneError::Device { wanted: name.into(), found, remedy };
    let index = match name {
        "auto" if Cuda::is_available() => return Ok(Device::Cuda(0)),
        "auto" | "cpu" => return Ok(Device::Cpu),
        "cuda" => 0,
        _ => match name.strip_prefix("cuda:").and_then(|n| n.parse::<i64>().ok()) {
            Some(index) if index >= 0 => index,
            _ => {
                let remedy = "Use --device auto, cpu, cuda or cuda:N.";
                return Err(missing("not a device's name".into(), remedy));
            }
        },
    };
    if !Cuda::is_available() {
        let remedy = "Use --device cpu, or install a CUDA libtorch (make setup TORCH=cuda) and an NVIDIA driver.";
        return Err(missing("libtorch sees no CUDA device".into(), remedy));
    }
    if index >= Cuda::device_count() {
        let found = format!("libtorch sees {} CUDA devices, cuda:0 up", Cuda::device_count());
        return Err(missing(found, "Choose one of them."));
    }
    Ok(Device::Cuda(index as usize))
}

/// The number type of the convolutions on `device`.
pub fn kind(arithmetic: Arithmetic, device: Device) -> Kind {
    match arithmetic {
        Arithmetic::F32 => Kind::Float,
        Arithmetic::Bf16 => Kind::BFloat16,
        Arithmetic::Auto if device.is_cuda() || cpu_computes_bf16() => Kind::BFloat16,
        Arithmetic::Auto => Kind::Float,
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu_computes_bf16() -> bool {
    std::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_computes_bf16() -> bool {
    false
}

/// The device and number type in words.
pub fn describe(options: &EngineOptions) -> Result<String, BackboneError> {
    let device = resolve(&options.device)?;
    let kind = match kind(options.arithmetic, device) {
        Kind::BFloat16 => "bf16",
        _ => "f32",
    };
    Ok(match device {
        Device::Cuda(index) => format!("cuda:{index} in {kind}"),
        _ => format!("the CPU ({} threads) in {kind}", tch::get_num_threads()),
    })
}

/// libtorch, and whether it sees a GPU and why not.
pub fn facts() -> Vec<(&'static str, String)> {
    let cuda = if Cuda::is_available() {
        format!("{} devices, cuDNN {}", Cuda::device_count(), Cuda::cudnn_is_available())
    } else if !Cuda::is_available() && tch::utils::has_cuda() {
        "none seen: no NVIDIA driver or GPU here".into()
    } else {
        "none seen: this libtorch was built without it or its CUDA part is not installed (make setup TORCH=cuda)".into()
    };
    let bf16 = if cpu_computes_bf16() { "yes" } else { "no" };
    vec![
        ("libtorch", format!("2.11, in {}", env!("LIBTORCH_LIB"))),
        ("CUDA", cuda),
        ("CPU computes bf16", bf16.into()),
    ]
}
