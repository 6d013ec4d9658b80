//! PyTorch's tensors, as `torch.save` writes them: a tensor is a view of a storage, and the values of a
//! storage stand outside of the pickle.

use safetensors::Dtype;

use super::machine::Machine;
use super::names::Role;
use super::numpy::shape_of;
use super::{Id, Object, PickleError, text_of};

/// Values in a row, outside of the pickle.
#[derive(Debug)]
pub(crate) struct Storage {
    /// The value that names it.
    pub(super) key: Id,
    /// The type of its values.
    pub(crate) dtype: Dtype,
    /// How many there are, as the pickle says.
    pub(crate) values: u64,
}

impl Storage {
    pub(super) fn same_values(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.values == other.values
    }
}

/// A view of a storage that does not reach beyond what the pickle says of its length.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub(super) storage: Id,
    /// The place of its first value in the storage.
    pub(crate) offset: usize,
    /// Sizes, outermost first.
    pub(crate) shape: Vec<usize>,
    /// Values from one to the next along each axis.
    pub(crate) strides: Vec<usize>,
}

fn wrong(machine: &Machine, found: impl Into<String>) -> PickleError {
    PickleError::Tensor { at: machine.position(), found: found.into() }
}

/// `("storage", type, key, device, length)`, and in the older form a view, of which there is none since
/// PyTorch 0.4.
pub(super) fn storage<'a>(machine: &Machine<'a>, id: Id) -> Result<Object<'a>, PickleError> {
    let unknown = || wrong(machine, "whose values are not as PyTorch writes them");
    let (kind, dtype, key, values, view) = match machine.few(id)?[..] {
        [kind, dtype, key, _, values] => (kind, dtype, key, values, None),
        [kind, dtype, key, _, values, view] => (kind, dtype, key, values, Some(view)),
        _ => return Err(unknown()),
    };
    let of = |id: Id| machine.of(id);
    if text_of(of(kind)) != Some(b"storage") || text_of(of(key)).is_none() {
        return Err(unknown());
    }
    if view.is_some_and(|view| !matches!(of(view), Object::None)) {
        return Err(wrong(machine, "in a view of another storage, as before PyTorch 0.4"));
    }
    let (Object::Name(known), &Object::Integer(values)) = (of(dtype), of(values)) else {
        return Err(unknown());
    };
    let Role::Storage(dtype) = known.role else { return Err(known.refused()) };
    let values = u64::try_from(values).map_err(|_| wrong(machine, "of less than no values"))?;
    Ok(Object::Storage(Storage { key, dtype, values }))
}

/// `_rebuild_tensor_v2(storage, offset, sizes, steps, ...)`
pub(super) fn tensor<'a>(
    machine: &Machine<'a>,
    arguments: &[Id],
) -> Result<Object<'a>, PickleError> {
    let Some(&[storage, offset, shape, strides]) = arguments.get(..4) else {
        return Err(wrong(machine, "without sizes"));
    };
    let Object::Storage(values) = machine.of(storage) else {
        return Err(wrong(machine, "without a storage"));
    };
    let offset = match machine.of(offset) {
        &Object::Integer(offset) => usize::try_from(offset).ok(),
        _ => None,
    };
    let (Some(offset), Some(shape), Some(strides)) =
        (offset, shape_of(machine, shape), shape_of(machine, strides))
    else {
        return Err(wrong(machine, "whose place, sizes or steps are not numbers from 0"));
    };
    let tensor = Tensor { storage, offset, shape, strides };
    match tensor.end() {
        Some(end) if end as u64 <= values.values => Ok(Object::Tensor(tensor)),
        _ => {
            let Tensor { shape, strides, .. } = &tensor;
            let found = format!(
                "of shape {shape:?} with steps {strides:?} from {offset} that reaches beyond its storage of {} values",
                values.values
            );
            Err(wrong(machine, found))
        }
    }
}

impl Tensor {
    /// One beyond the last place that it has in its storage; `None` where that is no number.
    fn end(&self) -> Option<usize> {
        if self.shape.len() != self.strides.len() {
            return None;
        }
        let all = self.shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n))?;
        if all == 0 {
            return Some(0);
        }
        let axes = self.shape.iter().zip(&self.strides);
        let last = axes
            .map(|(size, stride)| (size - 1).checked_mul(*stride))
            .try_fold(self.offset, |sum, steps| sum.checked_add(steps?))?;
        last.checked_add(1)
    }
}

/// `_rebuild_parameter(tensor, ...)`
pub(super) fn parameter<'a>(
    machine: &Machine<'a>,
    arguments: &[Id],
) -> Result<Object<'a>, PickleError> {
    let Some(Object::Tensor(tensor)) = arguments.first().map(|id| machine.of(*id)) else {
        return Err(wrong(machine, "that is trained and has no values"));
    };
    let Tensor { storage, offset, shape, strides } = tensor;
    let (shape, strides) = (shape.clone(), strides.clone());
    Ok(Object::Tensor(Tensor { storage: *storage, offset: *offset, shape, strides }))
}

/// `_rebuild_from_type_v2(function, type, arguments, state)`
pub(super) fn of_type<'a>(
    machine: &mut Machine<'a>,
    arguments: &[Id],
) -> Result<Object<'a>, PickleError> {
    let &[function, class, arguments, _] = arguments else {
        return Err(wrong(machine, "of an unknown type"));
    };
    let (Object::Name(function), Object::Name(class)) = (machine.of(function), machine.of(class))
    else {
        return Err(wrong(machine, "of an unknown type"));
    };
    if class.role != Role::TensorType {
        return Err(class.refused());
    }
    let (Role::Tensor | Role::Parameter) = function.role else { return Err(function.refused()) };
    let (function, arguments) = (*function, machine.few(arguments)?);
    machine.made(function, &arguments)
}
