//! The form that every list and table of images is read into, whatever its format: which columns say
//! what, the images with their labels, and the classes that all lists of a dataset share.

mod classes;
mod columns;
mod error;
mod list;
mod lists;
mod one_hot;
mod places365;
mod sought;

pub(super) use classes::Classes;
pub(super) use columns::{Columns, Labels, are_names, find, no_path};
pub use error::{ListError, Place};
pub(super) use list::{Entry, List, Numbering, in_list, no_image_of};
pub use lists::ListedSplit;
pub(super) use lists::{Lists, joined, twice_labelled};
pub(super) use one_hot::class_of;
pub(super) use places365::{LAYOUTS, photograph};
pub(super) use sought::Sought;
