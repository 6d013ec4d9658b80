//! ONNX files at work, in onnxruntime: a library that is loaded when it is first needed.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use half::f16;
use ort::environment::Environment;
use ort::ep::ExecutionProvider;
use ort::session::builder::SessionBuilder;
use ort::session::{Session, SessionInputValue};
use ort::value::{Tensor, TensorRef};
use prost::Message;

use super::error::OnnxError;
use super::file::OnnxFile;
use super::find::{End, Found};
use super::input::{Element, InputRange};
use super::proto::ValueInfo;
use crate::address_space;
use crate::backbone::{Backbone, BackboneError};
use crate::domain::{FeatureShape, LinearHead};
use crate::rng::{KeyedRng, Stage};

/// onnxruntime, loaded.
pub struct Runtime {
    environment: Environment,
    /// The library.
    pub path: PathBuf,
    /// What it says of its build.
    pub build: String,
    /// Whether its CUDA provider was built in and can be asked for.
    pub has_cuda: bool,
}

impl Runtime {
    /// The device that `auto`, `cpu`, `cuda` or `cuda:N` selects, in words.
    ///
    /// # Errors
    /// Its provider cannot load.
    pub fn describe_device(&self, device: &str) -> Result<String, OnnxError> {
        let place = Place { path: &self.path, device, threads: None };
        Ok(place.session(self, &super::export::smallest())?.1)
    }
}

/// The library's name begins with this on Linux and macOS.
const LIBRARY: &str = "libonnxruntime.";

/// Addresses below which the library cannot be relied on to load and to compute: it ends the process where
/// it gets no more.
const LEAST_ADDRESSES: u64 = 640 << 20;
/// Addresses for each byte of a network: its file, as it is read and as it is handed over, and two sessions.
const ADDRESSES_A_BYTE: u64 = 8;

/// Loads onnxruntime, once: from `ORT_DYLIB_PATH`, else from Python's package in the active
/// environment or in `.venv`, else from where the system looks.
///
/// # Errors
/// There is none, or it is too old.
pub fn runtime() -> Result<&'static Runtime, OnnxError> {
    must_have(LEAST_ADDRESSES)?;
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    RUNTIME.get_or_init(load).as_ref().map_err(|found| {
        no_room(found).unwrap_or_else(|| OnnxError::Library { found: found.clone() })
    })
}

fn failed(path: &Path, operation: &'static str, message: String) -> OnnxError {
    let runtime = |message| OnnxError::Runtime { path: path.into(), operation, message };
    no_room(&message).unwrap_or_else(|| runtime(message))
}

/// Refuses a limited address space that is smaller.
fn must_have(needed: u64) -> Result<(), OnnxError> {
    match address_space::limit_bytes() {
        Some(limit) if limit < needed => Err(OnnxError::AddressSpace { limit, needed }),
        _ => Ok(()),
    }
}

/// What a message of onnxruntime or of the loader means where the address space is limited.
fn no_room(message: &str) -> Option<OnnxError> {
    /// Enough for most networks.
    const USUAL: u64 = 3 << 29;
    let message = message.to_lowercase();
    let told = ["bad_alloc", "annot allocate", "failed to map", "not enough memory"];
    let limit =
        address_space::limit_bytes().filter(|_| told.iter().any(|t| message.contains(t)))?;
    Some(OnnxError::AddressSpace { limit, needed: (2 * limit).max(USUAL) })
}

fn load() -> Result<Runtime, String> {
    let path = library();
    let in_words = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let environment = ort::init_from(&path)
        .map_err(|e| in_words(&e))?
        .with_name("fsa-bank")
        .with_telemetry(false)
        .build()
        .map_err(|e| in_words(&e))?;
    environment.set_log_level(ort::logging::LogLevel::Fatal);
    let has_cuda = ort::ep::CUDA::is_available().unwrap_or(false);
    Ok(Runtime { environment, path, build: ort::info().into(), has_cuda })
}

fn library() -> PathBuf {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|p| !p.is_empty()) {
        return path.into();
    }
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(std::env::var_os);
    let mut environments: Vec<PathBuf> = active.map(PathBuf::from).collect();
    environments.push(".venv".into());
    // An executable in target/release belongs to the .venv two folders above.
    let executable = std::env::current_exe().unwrap_or_default();
    environments.extend(executable.ancestors().skip(1).map(|dir| dir.join(".venv")));
    environments.iter().find_map(|dir| in_environment(dir)).unwrap_or("libonnxruntime.so".into())
}

/// `lib/python3.*/site-packages/onnxruntime/capi/libonnxruntime.so.*`
fn in_environment(environment: &Path) -> Option<PathBuf> {
    let names = |dir: &Path| {
        let entries = std::fs::read_dir(dir).ok().into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort_unstable();
        paths
    };
    let pythons = names(&environment.join("lib"));
    pythons.iter().find_map(|python| {
        let library = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(LIBRARY))
        };
        names(&python.join("site-packages/onnxruntime/capi")).into_iter().find(library)
    })
}

/// Where and how a model runs.
#[derive(Debug, Clone)]
pub struct OnnxOptions {
    /// `auto` (CUDA where its provider is available, else the CPU), `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// CPU threads; `None`: all.
    pub threads: Option<usize>,
    /// Side of the images, where the graph does not fix it.
    pub side: usize,
}

/// A model up to its feature map.
pub struct OnnxBackbone {
    session: Session,
    found: Found,
    shape: FeatureShape,
    side: usize,
    path: PathBuf,
    /// Where it runs, in words.
    pub device: String,
}

/// Shape and values.
type Output = (Vec<usize>, Vec<f32>);

/// Share of the largest logit by which the logits may differ from those that follow from map and
/// classifier; 16-bit floats have 11 significant bits.
const LOGITS_TOLERANCE: f32 = 1e-3;
const LOGITS_TOLERANCE_HALF: f32 = 3e-2;
/// Of networks that round pooled vectors to 8 bits.
const LOGITS_TOLERANCE_QUANTISED: f32 = 5e-2;

impl OnnxBackbone {
    /// Opens a model and makes sure, on random images, that pooling and classifier give its logits.
    /// With `other_head` the model may also end in pooling or in its map.
    ///
    /// # Errors
    /// There is no onnxruntime, it refuses the model, or the graph is not what it seemed.
    pub fn open(
        file: &OnnxFile,
        options: &OnnxOptions,
        other_head: bool,
    ) -> Result<Self, OnnxError> {
        let found = if other_head { file.find_map()? } else { file.find()? };
        let bytes = ADDRESSES_A_BYTE * file.model.encoded_len() as u64;
        must_have((LEAST_ADDRESSES + bytes).next_multiple_of(1 << 20))?;
        let runtime = runtime()?;
        let side = found.input.side.unwrap_or(options.side);
        let place = Place { path: file.path(), device: &options.device, threads: options.threads };
        let mut names = vec![found.map.as_str()];
        names.extend(found.checked_output());
        let (session, device) = place.session(runtime, &with_outputs(file, &names))?;
        let path = file.path().to_path_buf();
        let shape = FeatureShape { channels: 0, height: 0, width: 0 };
        let mut model = Self { session, found, shape, side, path, device };
        model.shape = model.checked_shape()?;
        let map_only = with_outputs(file, &[&model.found.map]);
        (model.session, _) = place.session(runtime, &map_only)?;
        Ok(model)
    }

    /// The classifier of the file, where it has one.
    pub fn head(&self) -> Option<&LinearHead> {
        self.found.head()
    }

    /// Side of the images.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Runs random images, and compares what follows from their maps with what the model says; the
    /// shape of a map.
    fn checked_shape(&mut self) -> Result<FeatureShape, OnnxError> {
        let images = self.found.input.batch.unwrap_or(2);
        let mut rng = KeyedRng::new(0, Stage::InitialWeights, (0, 0));
        let mut value = || match self.found.input.range {
            InputRange::Bytes(_) => rng.below(256) as f32,
            _ => rng.normal() as f32,
        };
        let inputs: Vec<f32> = (0..images * 3 * self.side * self.side).map(|_| value()).collect();
        let map = self.found.map.clone();
        let checked = self.found.checked_output().map(String::from);
        let names: Vec<&str> = std::iter::once(map.as_str()).chain(checked.as_deref()).collect();
        let mut outputs = self.outputs(&inputs, images, &names)?.into_iter();
        let Some((map_shape, maps)) = outputs.next() else {
            return Err(self.failed("its outputs", &"fewer than asked for"));
        };
        let refuse = |found: String| OnnxError::NotPooled {
            path: self.path.clone(),
            found,
            remedy: "Export it again, with fixed height and width.",
        };
        let &[n, channels, height, width] = map_shape.as_slice() else {
            return Err(refuse(format!("`{map}` is {map_shape:?}, not a map (n, K, H, W)")));
        };
        if let Some([h, w]) = self.found.window.filter(|window| *window != [height, width]) {
            return Err(refuse(format!(
                "its average pooling covers {h} x {w} of a map of {height} x {width}"
            )));
        }
        let wanted = self.head().map_or(channels, LinearHead::channels);
        if n != images || channels != wanted || channels * height * width == 0 {
            return Err(refuse(format!(
                "`{map}` is {map_shape:?}; expected {images} maps of {wanted} channels"
            )));
        }
        if let (Some(output), Some((_, values))) = (checked, outputs.next()) {
            let mean = |m: &[f32]| m.iter().sum::<f32>() / m.len() as f32;
            let pooled: Vec<f32> = maps.chunks_exact(height * width).map(mean).collect();
            self.compare(&output, &pooled, &values)?;
        }
        Ok(FeatureShape { channels, height, width })
    }

    /// Compares what follows from pooled vectors with the values of an output.
    fn compare(&self, output: &str, pooled: &[f32], found: &[f32]) -> Result<(), OnnxError> {
        let wanted = match self.head() {
            Some(head) => crate::eval::logits(pooled, head),
            None => pooled.to_vec(),
        };
        if found.len() != wanted.len() {
            let (path, remedy) = (self.path.clone(), "Export it again.");
            let found = format!("`{output}` has {} values; expected {}", found.len(), wanted.len());
            return Err(OnnxError::NotPooled { path, found, remedy });
        }
        let scale = found.iter().fold(0f32, |max, v| max.max(v.abs())).max(1e-6);
        let differences = wanted.iter().zip(found).map(|(a, b)| (a - b).abs());
        // NaN must not pass, so the largest is searched for by hand.
        let difference =
            differences.fold(0f32, |max, d| if d > max || d.is_nan() { d } else { max });
        let tolerance = match self.found.input.element {
            _ if self.found.quantised => LOGITS_TOLERANCE_QUANTISED,
            Element::Half => LOGITS_TOLERANCE_HALF,
            Element::Float | Element::Byte => LOGITS_TOLERANCE,
        };
        if difference <= tolerance * scale {
            return Ok(());
        }
        let (path, map) = (self.path.clone(), self.found.map.clone());
        Err(match &self.found.end {
            _ if self.found.quantised => {
                let found = format!(
                    "its rounding (QuantizeLinear, DequantizeLinear) changes the values of `{output}` by {difference:.3} of {scale:.3}"
                );
                OnnxError::Quantised { path, found }
            }
            End::Classifier(found) => {
                let classifier = found.place.weight.clone();
                OnnxError::OtherLogits { path, map, classifier, difference, scale }
            }
            _ => OnnxError::OtherPooling { path, output: output.into(), map, difference },
        })
    }

    fn failed(&self, operation: &'static str, e: &dyn std::fmt::Display) -> OnnxError {
        failed(&self.path, operation, e.to_string())
    }

    /// Shape and values of the named outputs for (n, 3, side, side).
    fn outputs(
        &mut self,
        inputs: &[f32],
        images: usize,
        names: &[&str],
    ) -> Result<Vec<Output>, OnnxError> {
        let input = &self.found.input;
        let side = self.side;
        let (shape, values) = match input.channels_last {
            false => ([images, 3, side, side], Cow::Borrowed(inputs)),
            true => ([images, side, side, 3], Cow::Owned(channels_last(inputs, side * side))),
        };
        let tensor: Result<SessionInputValue, ort::Error> = match input.element {
            Element::Float => TensorRef::from_array_view((shape, &*values)).map(|t| t.into()),
            Element::Half => {
                let halves: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
                Tensor::from_array((shape, halves)).map(|t| t.into())
            }
            Element::Byte => {
                // The cast saturates.
                let bytes: Vec<u8> = values.iter().map(|v| v.round() as u8).collect();
                Tensor::from_array((shape, bytes)).map(|t| t.into())
            }
        };
        let path = self.path.clone();
        let failed =
            |operation: &'static str, e: ort::Error| failed(&path, operation, e.to_string());
        let tensor = tensor.map_err(|e| failed("its input", e))?;
        let results = self
            .session
            .run(ort::inputs![input.name.as_str() => tensor])
            .map_err(|e| failed("the forward pass", e))?;
        names
            .iter()
            .map(|name| {
                let missing = ort::Error::new(format!("no output `{name}`"));
                let value =
                    results.get(name).ok_or(missing).map_err(|e| failed("its outputs", e))?;
                let sizes = |shape: &[i64]| shape.iter().map(|&d| d as usize).collect();
                if let Ok((shape, values)) = value.try_extract_tensor::<f32>() {
                    return Ok((sizes(shape), values.to_vec()));
                }
                let halves = value.try_extract_tensor::<f16>();
                let (shape, values) = halves.map_err(|e| failed("its outputs", e))?;
                Ok((sizes(shape), values.iter().map(|v| v.to_f32()).collect()))
            })
            .collect()
    }

    /// Maps of whole passes of the batch that the graph fixes; the last one is filled up with zeros.
    fn maps(&mut self, inputs: &[f32], images: usize) -> Result<Vec<f32>, OnnxError> {
        let map = self.found.map.clone();
        let Some(batch) = self.found.input.batch.filter(|&batch| batch != images) else {
            return Ok(self.outputs(inputs, images, &[&map])?.remove(0).1);
        };
        let mut maps = Vec::with_capacity(images * self.shape.values());
        let image = 3 * self.side * self.side;
        for chunk in inputs.chunks(batch * image) {
            let mut whole = chunk.to_vec();
            whole.resize(batch * image, 0.0);
            let (_, values) = self.outputs(&whole, batch, &[&map])?.remove(0);
            maps.extend_from_slice(&values[..chunk.len() / image * self.shape.values()]);
        }
        Ok(maps)
    }
}

impl Backbone for OnnxBackbone {
    fn shape(&self) -> FeatureShape {
        self.shape
    }

    fn feature_maps(&mut self, inputs: &[f32], images: usize) -> Result<Vec<f32>, BackboneError> {
        Ok(self.maps(inputs, images)?)
    }
}

impl Found {
    /// The value that follows from the map.
    fn checked_output(&self) -> Option<&str> {
        match &self.end {
            End::Classifier(found) => Some(&found.logits),
            End::Pooled(output) => Some(output),
            End::Map => None,
        }
    }
}

/// (n, 3, side, side) → [n, side, side, 3].
fn channels_last(inputs: &[f32], pixels: usize) -> Vec<f32> {
    let images = inputs.chunks_exact(3 * pixels);
    images
        .flat_map(|image| (0..pixels).flat_map(move |p| (0..3).map(move |c| image[c * pixels + p])))
        .collect()
}

/// The model with these outputs alone; onnxruntime leaves out what they do not need.
fn with_outputs(file: &OnnxFile, names: &[&str]) -> Vec<u8> {
    use prost::Message;
    let mut model = file.model.clone();
    if let Some(graph) = model.graph.as_mut() {
        let known: Vec<ValueInfo> = std::mem::take(&mut graph.output);
        graph.output = names
            .iter()
            .map(|&name| {
                // Without a type it is inferred.
                let unknown = || ValueInfo { name: name.into(), ..Default::default() };
                known.iter().find(|o| o.name == name).cloned().unwrap_or_else(unknown)
            })
            .collect();
    }
    model.encode_to_vec()
}

struct Place<'a> {
    path: &'a Path,
    device: &'a str,
    threads: Option<usize>,
}

impl Place<'_> {
    /// A session on the device, and the device in words.
    fn session(&self, runtime: &Runtime, model: &[u8]) -> Result<(Session, String), OnnxError> {
        let index = match self.device {
            "cpu" => None,
            "auto" if !runtime.has_cuda => None,
            "auto" | "cuda" => Some(0),
            name => match name.strip_prefix("cuda:").and_then(|n| n.parse().ok()) {
                Some(index) => Some(index),
                None => {
                    let message = format!("`{name}` is not one of auto, cpu, cuda, cuda:N");
                    return Err(self.failed("choosing a device", message));
                }
            },
        };
        let threads = self.threads.unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        });
        let on_cpu = format!("onnxruntime on the CPU ({threads} threads)");
        let Some(index) = index else {
            return Ok((self.try_session(runtime, model, threads, None)?, on_cpu));
        };
        match self.try_session(runtime, model, threads, Some(index)) {
            Ok(session) => Ok((session, format!("onnxruntime with CUDA device {index}"))),
            // By name, a provider that cannot load is an error and not the CPU in its place.
            Err(e) if self.device != "auto" => Err(e),
            Err(e) => {
                let why = e.to_string();
                let why = why.lines().next().unwrap_or_default();
                let session = self.try_session(runtime, model, threads, None)?;
                Ok((session, format!("{on_cpu}; not with CUDA: {why}")))
            }
        }
    }

    fn try_session(
        &self,
        runtime: &Runtime,
        model: &[u8],
        threads: usize,
        cuda: Option<i32>,
    ) -> Result<Session, OnnxError> {
        let built = |e: &dyn std::fmt::Display| self.failed("making a session", e.to_string());
        let builder: SessionBuilder =
            Session::builder(&runtime.environment).map_err(|e| built(&e))?;
        let mut builder = builder.with_intra_threads(threads).map_err(|e| built(&e))?;
        if let Some(index) = cuda {
            let provider = ort::ep::CUDA::default().with_device_id(index).build();
            let provider = provider.error_on_failure();
            builder = builder.with_execution_providers([provider]).map_err(|e| {
                let remedy = "Use --device cpu, or install onnxruntime-gpu and an NVIDIA driver.";
                self.failed("loading the CUDA provider", format!("{e}\n  {remedy}"))
            })?;
        }
        builder
            .commit_from_memory(model)
            .map_err(|e| self.failed("loading the model", e.to_string()))
    }

    fn failed(&self, operation: &'static str, message: String) -> OnnxError {
        failed(self.path, operation, message)
    }
}
