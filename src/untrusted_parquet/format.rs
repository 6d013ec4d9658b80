//! Numbers of the Parquet format that every reader here needs.

/// What a file begins and ends with.
pub(crate) const MAGIC: &[u8; 4] = b"PAR1";
/// Length of the metadata and magic, at a file's end.
pub(super) const TAIL_BYTES: u64 = 8;
/// The most bytes that a codec makes of one: zstd's blocks of 128 KiB take at least 4. Brotli's make more,
/// but not of images.
pub(crate) const MOST_EXPANSION: u64 = 1 << 15;
/// How metadata call the codecs.
pub(super) const LZO: i64 = 3;
pub(super) const BROTLI: i64 = 4;
pub(super) const ZSTD: i64 = 6;
