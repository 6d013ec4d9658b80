//! The images of one split, wherever they are: decoded, in files, or encoded in a table.

use std::borrow::Cow;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::decode::{self, Framing, read_image};
use super::error::{DatasetError, is_of_the_file};
use super::random_crop::RandomRectangle;
use crate::config::Interpolation;
use crate::regular_file;

/// Images of one split: square 8-bit RGB, in rows of pixels (H, W, 3).
pub struct SplitImages {
    pub(super) labels: Vec<u32>,
    pub(super) paths: Vec<String>,
    pub(super) size: usize,
    pub(super) pixels: Pixels,
}

pub(super) enum Pixels {
    /// All images, decoded.
    Decoded(Vec<u8>),
    /// Files below `root`, decoded when asked for and kept where all of them fit.
    Files { root: PathBuf, framing: Framing, kept: Kept },
    /// Encoded images of the file or folder `origin`, decoded as files are.
    Encoded { origin: PathBuf, images: Vec<Bytes>, framing: Framing, kept: Kept },
}

/// The content of an image's file, and its place.
type File<'a> = (Cow<'a, [u8]>, PathBuf);

/// Decoded images, where all of them fit into memory.
type Kept = Option<Vec<OnceLock<Box<[u8]>>>>;

fn kept(images: usize, size: usize) -> Kept {
    let fits = images.saturating_mul(size * size * 3) <= KEEP_DECODED_BYTES;
    fits.then(|| (0..images).map(|_| OnceLock::new()).collect())
}

/// Image `i`, kept or decoded now.
fn decoded_once(
    kept: &Kept,
    i: usize,
    decode: impl FnOnce() -> Result<Vec<u8>, DatasetError>,
) -> Result<Cow<'_, [u8]>, DatasetError> {
    let Some(kept) = kept else {
        return decode().map(Cow::Owned);
    };
    if let Some(bytes) = kept[i].get() {
        return Ok(Cow::Borrowed(bytes));
    }
    let bytes = decode()?;
    Ok(Cow::Borrowed(kept[i].get_or_init(|| bytes.into_boxed_slice())))
}

/// Decoded images of files and tables stay in memory up to this size.
const KEEP_DECODED_BYTES: usize = 4 << 30;

impl SplitImages {
    pub(super) fn decoded(
        size: usize,
        labels: Vec<u32>,
        paths: Vec<String>,
        pixels: Vec<u8>,
    ) -> Self {
        debug_assert_eq!(pixels.len(), labels.len() * size * size * 3);
        Self { labels, paths, size, pixels: Pixels::Decoded(pixels) }
    }

    pub(super) fn files(
        framing: Framing,
        root: &Path,
        labels: Vec<u32>,
        paths: Vec<String>,
    ) -> Self {
        let size = framing.size;
        let kept = kept(labels.len(), size);
        Self { labels, paths, size, pixels: Pixels::Files { root: root.into(), framing, kept } }
    }

    pub(super) fn encoded(
        framing: Framing,
        origin: &Path,
        labels: Vec<u32>,
        paths: Vec<String>,
        images: Vec<Bytes>,
    ) -> Self {
        let size = framing.size;
        let kept = kept(labels.len(), size);
        let pixels = Pixels::Encoded { origin: origin.into(), images, framing, kept };
        Self { labels, paths, size, pixels }
    }

    /// Images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Class of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// What identifies image `i` in its source, such as `train/heron/0012.jpg`.
    pub fn path(&self, i: usize) -> &str {
        &self.paths[i]
    }

    /// Image `i`: (H, W, 3) bytes.
    ///
    /// # Errors
    /// An unreadable or undecodable file.
    pub fn image(&self, i: usize) -> Result<Cow<'_, [u8]>, DatasetError> {
        let image_bytes = self.size * self.size * 3;
        match &self.pixels {
            Pixels::Decoded(bytes) => Ok(Cow::Borrowed(&bytes[i * image_bytes..][..image_bytes])),
            Pixels::Files { root, framing, kept } => {
                decoded_once(kept, i, || decode::file(&root.join(&self.paths[i]), *framing))
            }
            Pixels::Encoded { origin, images, framing, kept } => {
                let place = || origin.join(&self.paths[i]);
                decoded_once(kept, i, || decode::bytes(&images[i], &place(), *framing))
            }
        }
    }

    /// Width and height in pixels of image `i` as it is stored; of a file, from its header alone.
    ///
    /// # Errors
    /// An unreadable file, or one that is not an image.
    pub fn stored_size(&self, i: usize) -> Result<[u32; 2], DatasetError> {
        match self.file_of(i)? {
            Some((encoded, path)) => decode::stored_size(&encoded, &path),
            None => Ok([self.size as u32; 2]),
        }
    }

    /// The largest colour value of image `i`, if its file has 16 bits a value and can be decoded.
    pub(super) fn largest_of_16_bits(&self, i: usize) -> Option<u16> {
        decode::largest_of_16_bits(&self.file_of(i).ok()??.0)
    }

    /// Whether the first bytes of image `i` leave it open that it has 16 bits a value.
    pub(super) fn may_have_16_bits(&self, i: usize) -> bool {
        match &self.pixels {
            Pixels::Decoded(_) => false,
            Pixels::Files { root, .. } => {
                let mut head = vec![];
                let file = regular_file::open(&root.join(&self.paths[i]));
                let read = file.and_then(|(file, _)| {
                    file.take(decode::HEAD_BYTES as u64).read_to_end(&mut head)
                });
                read.is_ok() && decode::may_have_16_bits(&head)
            }
            Pixels::Encoded { images, .. } => decode::may_have_16_bits(&images[i]),
        }
    }

    /// The file of image `i` and its place; `None` of images that are held decoded.
    pub(super) fn file_of(&self, i: usize) -> Result<Option<File<'_>>, DatasetError> {
        Ok(match &self.pixels {
            Pixels::Decoded(_) => None,
            Pixels::Files { root, .. } => {
                let path = root.join(&self.paths[i]);
                Some((read_image(&path)?.into(), path))
            }
            Pixels::Encoded { origin, images, .. } => {
                Some((images[i].as_ref().into(), origin.join(&self.paths[i])))
            }
        })
    }

    /// A rectangle of image `i` as it was before its middle square was taken, scaled to the size of the
    /// square; of images that are held decoded, a rectangle of the square, scaled linearly.
    pub(super) fn rectangle(
        &self,
        i: usize,
        random: &RandomRectangle,
    ) -> Result<Vec<u8>, DatasetError> {
        let of = |w, h| random.of(w, h);
        match &self.pixels {
            Pixels::Files { root, framing, .. } => {
                let path = root.join(&self.paths[i]);
                return decode::part(&read_image(&path)?, &path, *framing, of);
            }
            Pixels::Encoded { origin, images, framing, .. } => {
                return decode::part(&images[i], &origin.join(&self.paths[i]), *framing, of);
            }
            Pixels::Decoded(_) => {}
        }
        let (square, side) = (self.image(i)?, self.size as u32);
        let (place, linear) = (random.of(side, side), Interpolation::Bilinear);
        decode::rectangle_of(&square, (side, side), place, self.size, linear)
            .map_err(|message| DatasetError::Image { path: PathBuf::from(&self.paths[i]), message })
    }

    /// Some of the images; those of files and tables are decoded again.
    pub(super) fn subset(&self, keep: &[usize]) -> Self {
        let image_bytes = self.size * self.size * 3;
        let labels = keep.iter().map(|&i| self.labels[i]).collect();
        let paths = keep.iter().map(|&i| self.paths[i].clone()).collect();
        match &self.pixels {
            Pixels::Decoded(bytes) => {
                let pixels =
                    keep.iter().flat_map(|&i| &bytes[i * image_bytes..][..image_bytes]).copied();
                Self::decoded(self.size, labels, paths, pixels.collect())
            }
            Pixels::Files { root, framing, .. } => Self::files(*framing, root, labels, paths),
            Pixels::Encoded { origin, images, framing, .. } => {
                let images = keep.iter().map(|&i| images[i].clone()).collect();
                Self::encoded(*framing, origin, labels, paths, images)
            }
        }
    }

    pub(super) fn hash_into(&self, hash: &mut Sha256) -> Result<(), DatasetError> {
        for (label, path) in self.labels.iter().zip(&self.paths) {
            hash.update(label.to_le_bytes());
            hash.update((path.len() as u64).to_le_bytes());
            hash.update(path.as_bytes());
        }
        match &self.pixels {
            Pixels::Decoded(bytes) => hash.update(bytes),
            Pixels::Encoded { images, .. } => {
                for image in images {
                    hash.update((image.len() as u64).to_le_bytes());
                    hash.update(image);
                }
            }
            Pixels::Files { root, .. } => {
                // One look at each of hundreds of thousands of files, more than one at a time.
                let size = |path: &String| {
                    let path = root.join(path);
                    // One that has gone is left out where it is asked for, if that is allowed.
                    const GONE: u64 = u64::MAX;
                    match std::fs::metadata(&path) {
                        Ok(meta) => Ok(meta.len()),
                        Err(e) if is_of_the_file(&e) => Ok(GONE),
                        Err(source) => Err(DatasetError::Read { path, source }),
                    }
                };
                let sizes: Vec<Result<u64, DatasetError>> =
                    self.paths.par_iter().map(size).collect();
                for size in sizes {
                    hash.update(size?.to_le_bytes());
                }
            }
        }
        Ok(())
    }
}
