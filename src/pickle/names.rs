//! The functions and classes that a pickle may name. None of them runs: a role says what the reader
//! makes of a call, and a name without a row is refused.

use safetensors::Dtype;

use super::error::{PickleError, printable};

/// What a pickle is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Dictionaries, lists, texts, numbers and numpy arrays.
    Numpy,
    /// What `torch.save` writes of state dicts and checkpoints: tensors, and plain data beside them.
    Torch,
}

/// A name that is allowed.
#[derive(Debug)]
pub(super) struct Known {
    module: &'static str,
    name: &'static str,
    pub(super) role: Role,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `numpy.core.multiarray._reconstruct`: an array whose state follows.
    Reconstruct,
    /// `numpy.core.numeric._frombuffer`: an array of protocol 5.
    FromBuffer,
    /// `numpy.ndarray`, an argument of `_reconstruct`.
    NdArray,
    /// `numpy.dtype`
    Dtype,
    /// `_codecs.encode`: how Python 3 writes bytes in the protocols of Python 2.
    Encode,
    /// A tensor of a storage, an offset, sizes and steps.
    Tensor,
    /// A tensor that is trained.
    Parameter,
    /// A tensor with the class that it has in Python.
    TensorOfType,
    /// Such a class.
    TensorType,
    /// The type of a storage.
    Storage(Dtype),
    /// A dictionary.
    Dictionary,
    /// `getattr`, which is taken for classes of plain data alone.
    Attribute,
    /// A class of plain data, or a function that makes such: a placeholder stands for its value.
    Opaque,
}

impl Known {
    const fn new(module: &'static str, name: &'static str, role: Role) -> Self {
        Self { module, name, role }
    }

    pub(super) fn refused(&self) -> PickleError {
        PickleError::Refused { module: self.module.into(), name: self.name.into() }
    }
}

static NUMPY: [Known; 7] = [
    Known::new("numpy.core.multiarray", "_reconstruct", Role::Reconstruct),
    Known::new("numpy._core.multiarray", "_reconstruct", Role::Reconstruct),
    Known::new("numpy.core.numeric", "_frombuffer", Role::FromBuffer),
    Known::new("numpy._core.numeric", "_frombuffer", Role::FromBuffer),
    Known::new("numpy", "ndarray", Role::NdArray),
    Known::new("numpy", "dtype", Role::Dtype),
    Known::new("_codecs", "encode", Role::Encode),
];

static TORCH: [Known; 23] = [
    Known::new("torch._utils", "_rebuild_tensor", Role::Tensor),
    Known::new("torch._utils", "_rebuild_tensor_v2", Role::Tensor),
    Known::new("torch._utils", "_rebuild_parameter", Role::Parameter),
    Known::new("torch._utils", "_rebuild_parameter_with_state", Role::Parameter),
    Known::new("torch._tensor", "_rebuild_from_type_v2", Role::TensorOfType),
    Known::new("torch", "Tensor", Role::TensorType),
    Known::new("torch.nn.parameter", "Parameter", Role::TensorType),
    Known::new("torch.nn.parameter", "Buffer", Role::TensorType),
    Known::new("torch", "FloatStorage", Role::Storage(Dtype::F32)),
    Known::new("torch", "DoubleStorage", Role::Storage(Dtype::F64)),
    Known::new("torch", "HalfStorage", Role::Storage(Dtype::F16)),
    Known::new("torch", "BFloat16Storage", Role::Storage(Dtype::BF16)),
    Known::new("torch", "LongStorage", Role::Storage(Dtype::I64)),
    Known::new("torch", "IntStorage", Role::Storage(Dtype::I32)),
    Known::new("torch", "ShortStorage", Role::Storage(Dtype::I16)),
    Known::new("torch", "CharStorage", Role::Storage(Dtype::I8)),
    Known::new("torch", "ByteStorage", Role::Storage(Dtype::U8)),
    Known::new("torch", "BoolStorage", Role::Storage(Dtype::BOOL)),
    Known::new("torch.storage", "UntypedStorage", Role::Storage(Dtype::U8)),
    Known::new("collections", "OrderedDict", Role::Dictionary),
    Known::new("collections", "defaultdict", Role::Dictionary),
    // A `HistoryBuffer` of mmengine names its own functions.
    Known::new("builtins", "getattr", Role::Attribute),
    Known::new("__builtin__", "getattr", Role::Attribute),
];

/// Modules and names of plain data in checkpoints: settings, counters, paths, numbers of numpy, states of
/// random number generators.
const OPAQUE: &[(&str, &[&str])] = &[
    (
        "torch",
        &[
            "Size", "device", "bfloat16", "bool", "float", "float16", "float32", "float64", "half",
            "int16", "int32", "int64", "int8", "long", "strided", "uint8",
        ],
    ),
    ("torch.serialization", &["_get_layout"]),
    ("collections", &["Counter", "deque"]),
    ("argparse", &["Namespace"]),
    ("types", &["SimpleNamespace"]),
    ("pathlib", &["Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"]),
    ("pathlib._local", &["PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"]),
    ("datetime", &["datetime", "date", "timedelta"]),
    ("builtins", BUILTINS),
    ("__builtin__", BUILTINS),
    ("typing", &["Any"]),
    ("_codecs", &["encode"]),
    ("numpy", &["dtype", "ndarray"]),
    ("numpy.core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy._core.multiarray", &["_reconstruct", "scalar"]),
    ("numpy.core.numeric", &["_frombuffer"]),
    ("numpy._core.numeric", &["_frombuffer"]),
    ("addict.addict", &["Dict"]),
    ("easydict", &["EasyDict"]),
    ("yacs.config", &["CfgNode"]),
    ("mmcv.utils.config", &["ConfigDict"]),
    ("mmengine.config.config", &["ConfigDict"]),
    ("mmengine.logging.history_buffer", &["HistoryBuffer"]),
    ("omegaconf.base", &["ContainerMetadata", "Metadata"]),
    ("omegaconf.dictconfig", &["DictConfig"]),
    ("omegaconf.listconfig", &["ListConfig"]),
    ("omegaconf.nodes", &["AnyNode", "BooleanNode", "FloatNode", "IntegerNode", "StringNode"]),
    ("lightning.fabric.utilities.data", &["AttributeDict"]),
    ("lightning_fabric.utilities.data", &["AttributeDict"]),
    ("lightning.pytorch.utilities.parsing", &["AttributeDict"]),
    ("pytorch_lightning.utilities.parsing", &["AttributeDict"]),
    ("pytorch_lightning.callbacks.early_stopping", &["EarlyStopping"]),
    ("pytorch_lightning.callbacks.model_checkpoint", &["ModelCheckpoint"]),
];
const BUILTINS: &[&str] = &[
    "bool",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "long",
    "set",
    "slice",
    "str",
    "tuple",
    "unicode",
];

static PLAIN: Known = Known::new("", "", Role::Opaque);

impl Dialect {
    pub(super) fn known(self, module: &[u8], name: &[u8]) -> Result<&'static Known, PickleError> {
        let same =
            |known: &&Known| known.module.as_bytes() == module && known.name.as_bytes() == name;
        let plain = OPAQUE
            .iter()
            .any(|(m, names)| m.as_bytes() == module && names.iter().any(|n| n.as_bytes() == name));
        match self {
            Self::Numpy => NUMPY.iter().find(same),
            Self::Torch => TORCH.iter().find(same).or(plain.then_some(&PLAIN)),
        }
        .ok_or_else(|| PickleError::Refused { module: printable(module), name: printable(name) })
    }
}
