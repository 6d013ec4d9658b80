//! PyTorch's tensors, as `torch.save` writes them: a tensor is a view of a storage, and the values of a
//! storage stand outside of the pickle.

use super::error::PickleError;
use super::names::{Known, Role};
use super::numpy::shape_of;
use super::objects::{Id, Object, Objects, Storage, Tensor, text_of};

impl Storage {
    pub(super) fn same_values(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.values == other.values
    }
}

fn wrong(objects: &Objects, found: impl Into<String>) -> PickleError {
    PickleError::Tensor { at: objects.at, found: found.into() }
}

/// `("storage", type, key, device, length)`, and in the older form a view, of which there is none since
/// PyTorch 0.4.
pub(super) fn storage<'a>(objects: &Objects<'a>, id: Id) -> Result<Object<'a>, PickleError> {
    let unknown = || wrong(objects, "whose values are not as PyTorch writes them");
    let (kind, dtype, key, values, view) = match objects.few(id)?[..] {
        [kind, dtype, key, _, values] => (kind, dtype, key, values, None),
        [kind, dtype, key, _, values, view] => (kind, dtype, key, values, Some(view)),
        _ => return Err(unknown()),
    };
    let of = |id: Id| objects.of(id);
    if text_of(of(kind)) != Some(b"storage") || text_of(of(key)).is_none() {
        return Err(unknown());
    }
    if view.is_some_and(|view| !matches!(of(view), Object::None)) {
        return Err(wrong(objects, "in a view of another storage, as before PyTorch 0.4"));
    }
    let (Object::Name(known), &Object::Integer(values)) = (of(dtype), of(values)) else {
        return Err(unknown());
    };
    let Role::Storage(dtype) = known.role else { return Err(known.refused()) };
    let values = u64::try_from(values).map_err(|_| wrong(objects, "of less than no values"))?;
    Ok(Object::Storage(Storage { key, dtype, values }))
}

/// `_rebuild_tensor_v2(storage, offset, sizes, steps, ...)`
pub(super) fn tensor<'a>(
    objects: &Objects<'a>,
    arguments: &[Id],
) -> Result<Object<'a>, PickleError> {
    let Some(&[storage, offset, shape, strides]) = arguments.get(..4) else {
        return Err(wrong(objects, "without sizes"));
    };
    let Object::Storage(values) = objects.of(storage) else {
        return Err(wrong(objects, "without a storage"));
    };
    let offset = match objects.of(offset) {
        &Object::Integer(offset) => usize::try_from(offset).ok(),
        _ => None,
    };
    let (Some(offset), Some(shape), Some(strides)) =
        (offset, shape_of(objects, shape), shape_of(objects, strides))
    else {
        return Err(wrong(objects, "whose place, sizes or steps are not numbers from 0"));
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
            Err(wrong(objects, found))
        }
    }
}

impl Tensor {
    /// One beyond its last place in its storage; `None` where that is not a number.
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
    objects: &Objects<'a>,
    arguments: &[Id],
) -> Result<Object<'a>, PickleError> {
    let Some(Object::Tensor(tensor)) = arguments.first().map(|id| objects.of(*id)) else {
        return Err(wrong(objects, "that is trained and has no values"));
    };
    let Tensor { storage, offset, shape, strides } = tensor;
    let (shape, strides) = (shape.clone(), strides.clone());
    Ok(Object::Tensor(Tensor { storage: *storage, offset: *offset, shape, strides }))
}

/// `_rebuild_from_type_v2(function, type, arguments, state)`: the call that gives the tensor.
pub(super) fn of_type(
    objects: &Objects,
    arguments: &[Id],
) -> Result<(&'static Known, Vec<Id>), PickleError> {
    let &[function, class, arguments, _] = arguments else {
        return Err(wrong(objects, "of an unknown type"));
    };
    let (Object::Name(function), Object::Name(class)) = (objects.of(function), objects.of(class))
    else {
        return Err(wrong(objects, "of an unknown type"));
    };
    if class.role != Role::TensorType {
        return Err(class.refused());
    }
    let (Role::Tensor | Role::Parameter) = function.role else { return Err(function.refused()) };
    Ok((function, objects.few(arguments)?))
}
