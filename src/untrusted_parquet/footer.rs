//! The footer of a Parquet file, read without trust: what the decoder gets to see is made of numbers that
//! were compared with the contract, with the file's length and with each other.
//!
//! Whoever makes a bank also makes its checksums, so that they say nothing of a file that was made to do
//! harm. A footer could promise 2^31 columns, pages outside the file, or values without end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::metadata::page_index::PageIndexBuilder;
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, OffsetIndexBuilder, ParquetMetaData, ParquetMetaDataBuilder,
    RowGroupMetaData,
};
use parquet::schema::types::{SchemaDescPtr, Type};

use super::format::{MAGIC, MOST_EXPANSION, TAIL_BYTES, ZSTD};
use super::thrift::Fields;

/// The longest text of a column, in bytes: more than any path of a file.
const LONGEST_TEXT: u64 = 1 << 16;

/// What a file must be.
#[derive(Debug, Clone)]
pub(crate) struct Contract {
    schema: SchemaDescPtr,
    columns: Arc<[Column]>,
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: PhysicalType,
    /// Values of a row; `None` for a column that is not a list.
    pub(crate) list: Option<u64>,
    /// Whether each of its pages has a checksum of its own.
    pub(crate) checked_by_page: bool,
}

impl Column {
    /// Values of a row at most. An empty list takes the place of one.
    pub(crate) fn row_values(&self) -> u64 {
        self.list.unwrap_or(1)
    }

    /// Bytes that a value takes at most, before compression.
    pub(crate) fn value_bytes(&self) -> u64 {
        match self.kind {
            PhysicalType::BOOLEAN => 1,
            PhysicalType::INT32 | PhysicalType::FLOAT => 4,
            PhysicalType::INT64 => 8,
            _ => 4 + LONGEST_TEXT,
        }
    }
}

/// A column chunk: where its pages lie.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) start: u64,
    pub(crate) length: u64,
    /// Bytes of a dictionary page before the data pages; 0 where there is none.
    pub(crate) dictionary_bytes: u64,
    /// Data pages, one after the other up to the chunk's end.
    pub(crate) pages: Vec<Page>,
}

impl Chunk {
    /// The ranges that have a checksum each, as (start, length).
    pub(crate) fn checked_spans(&self, column: &Column) -> Vec<(u64, u64)> {
        match column.checked_by_page {
            true => self.pages.iter().map(|page| (page.start, page.length)).collect(),
            false => vec![(self.start, self.length)],
        }
    }
}

/// A data page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Page {
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) rows: u64,
}

/// A row group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) rows: u64,
    /// In order of the columns.
    pub(crate) chunks: Vec<Chunk>,
}

/// A footer that agrees with its contract.
pub(crate) struct Footer {
    pub(crate) metadata: Arc<ParquetMetaData>,
    pub(crate) groups: Vec<Group>,
}

impl Footer {
    /// Where the metadata of a file of `bytes` lie, as (start, length).
    pub(crate) fn metadata_range(file: &File, bytes: u64) -> io::Result<(u64, u64)> {
        let behind = bytes.checked_sub(TAIL_BYTES).ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut length = [0; 4];
        file.read_exact_at(&mut length, behind)?;
        let length = u64::from(u32::from_le_bytes(length));
        Ok((behind.checked_sub(length).ok_or(io::ErrorKind::UnexpectedEof)?, length))
    }

    /// Where the column chunks that `metadata` lists end.
    pub(crate) fn begin(metadata: &[u8]) -> Result<u64, String> {
        let mut end = MAGIC.len() as u64;
        for group in Fields::of(metadata)?.0.structs(4)? {
            for chunk in group.structs(1)? {
                let about = chunk.fields(3)?;
                let first = about.optional_number(11)?.unwrap_or(about.number(9)?);
                end = end.max(u64::try_from(first).unwrap_or(0).saturating_add(about.size(7)?));
            }
        }
        Ok(end)
    }
}

impl Contract {
    /// Of a file with these columns, whose lists have the lengths that `list_length` gives them;
    /// `checked_by_page` tells which have a checksum for each page.
    pub(crate) fn new(
        schema: &arrow::datatypes::Schema,
        list_length: impl Fn(&str) -> u64,
        checked_by_page: impl Fn(&str) -> bool,
    ) -> Self {
        let schema =
            ArrowSchemaConverter::new().convert(schema).expect("our columns are Parquet's");
        let column = |leaf: &parquet::schema::types::ColumnDescPtr| {
            let name = leaf.path().parts()[0].clone();
            let list = (leaf.max_rep_level() > 0).then(|| list_length(&name));
            let checked_by_page = checked_by_page(&name);
            Column { name, kind: leaf.physical_type(), list, checked_by_page }
        };
        let columns = schema.columns().iter().map(column).collect();
        Self { schema: Arc::new(schema), columns }
    }

    /// In order of the file.
    pub(crate) fn columns(&self) -> &Arc<[Column]> {
        &self.columns
    }

    /// Reads the end of a file, which begins at byte `offset` of it; all column chunks lie before `end`.
    pub(crate) fn read(&self, tail: &[u8], offset: u64, end: u64) -> Result<Footer, String> {
        let behind =
            tail.len().checked_sub(TAIL_BYTES as usize).ok_or("its footer is cut short")?;
        let (length, magic) = tail[behind..].split_at(4);
        if magic != MAGIC {
            return Err("its footer does not end as a Parquet file does".into());
        }
        let length = u32::from_le_bytes(length.try_into().expect("4 bytes")) as usize;
        let begin = behind.checked_sub(length).ok_or("its footer is cut short")?;
        let (fields, _) = Fields::of(&tail[begin..behind])?;
        self.must_have_schema(&fields.structs(2)?)?;
        let first = MAGIC.len() as u64;
        let mut places =
            Places { indexes: &tail[..begin], offset, next_index: 0, next_chunk: first, end };
        let groups: Vec<Group> = fields
            .structs(4)?
            .into_iter()
            .map(|group| self.group(group, &mut places))
            .collect::<Result<_, _>>()?;
        let rows = groups.iter().try_fold(0u64, |sum, group| sum.checked_add(group.rows));
        let said = fields.size(3)?;
        if rows != Some(said) {
            return Err(format!("{said} rows in its footer, and others in its row groups"));
        }
        let metadata = self.metadata(&groups).map_err(|e| e.to_string())?;
        Ok(Footer { metadata: Arc::new(metadata), groups })
    }

    fn must_have_schema(&self, elements: &[&Fields]) -> Result<(), String> {
        let mut expected = vec![];
        flatten(self.schema.root_schema(), &mut expected);
        for (at, node) in expected.iter().enumerate() {
            // The root's name and repetition are the writer's own.
            let found = elements.get(at).map(|element| Node::of(element, at == 0)).transpose()?;
            if found.as_ref() != Some(node) {
                let found = found.map_or("no more columns".into(), |found| found.to_string());
                return Err(format!("its columns: expected {node}, found {found}"));
            }
        }
        match elements.get(expected.len()) {
            None => Ok(()),
            Some(more) => {
                Err(format!("its columns: {} beyond the last one", Node::of(more, false)?))
            }
        }
    }

    fn group(&self, group: &Fields, places: &mut Places) -> Result<Group, String> {
        let rows = group.size(3)?;
        if rows == 0 || rows > i32::MAX as u64 {
            return Err(format!("a row group of {rows} rows"));
        }
        let chunks = group.structs(1)?;
        if chunks.len() != self.columns.len() {
            return Err(format!("a row group of {} columns", chunks.len()));
        }
        let read = |(chunk, column): (&&Fields, &Column)| {
            chunk_of(chunk, column, rows, places)
                .map_err(|found| format!("column {}: {found}", column.name))
        };
        let chunks = chunks.iter().zip(self.columns.iter()).map(read).collect::<Result<_, _>>()?;
        Ok(Group { rows, chunks })
    }

    /// The same for the decoder.
    fn metadata(&self, groups: &[Group]) -> Result<ParquetMetaData, ParquetError> {
        let mut index = PageIndexBuilder::default();
        index.allocate_offset_indexes(groups.len(), self.columns.len());
        let mut row_groups = vec![];
        for (number, group) in groups.iter().enumerate() {
            let mut columns = vec![];
            for (at, chunk) in group.chunks.iter().enumerate() {
                let first = (chunk.start + chunk.dictionary_bytes) as i64;
                let dictionary = (chunk.dictionary_bytes > 0).then_some(chunk.start as i64);
                let values = group.rows * self.columns[at].row_values();
                let column = ColumnChunkMetaData::builder(self.schema.column(at))
                    .set_compression(Compression::ZSTD(Default::default()))
                    .set_num_values(values as i64)
                    .set_total_compressed_size(chunk.length as i64)
                    .set_data_page_offset(first)
                    .set_dictionary_page_offset(dictionary);
                columns.push(column.build()?);
                let mut pages = OffsetIndexBuilder::new();
                for page in &chunk.pages {
                    pages.append_row_count(page.rows as i64);
                    pages.append_offset_and_size(page.start as i64, page.length as i32);
                }
                index.put_offset_index(pages.build(), number, at);
            }
            let group = RowGroupMetaData::builder(self.schema.clone())
                .set_num_rows(group.rows as i64)
                .set_column_metadata(columns);
            row_groups.push(group.build()?);
        }
        let rows = groups.iter().map(|group| group.rows as i64).sum();
        let file = FileMetaData::new(1, rows, None, None, self.schema.clone(), None);
        let metadata = ParquetMetaDataBuilder::new(file).set_row_groups(row_groups);
        Ok(metadata.set_page_index(Some(Arc::new(index.build()))).build())
    }
}

/// A node of a schema's tree, as a footer lists them.
#[derive(Debug, PartialEq)]
struct Node {
    /// None of the root.
    name: Option<String>,
    repetition: Option<i64>,
    /// Number of the physical type, of a column; children, of a group.
    kind: Option<i64>,
    children: i64,
}

impl Node {
    fn of(element: &Fields, root: bool) -> Result<Self, String> {
        let children = element.optional_number(5)?.unwrap_or(0);
        let kind = element.optional_number(1)?.filter(|_| children == 0);
        if root {
            return Ok(Self { name: None, repetition: None, kind, children });
        }
        let name = String::from_utf8_lossy(element.bytes(4)?).into_owned();
        Ok(Self { name: Some(name), repetition: element.optional_number(3)?, kind, children })
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let name = self.name.as_deref().unwrap_or("the root");
        // A name of the file's own may be long, and hold anything.
        let name: String = name.escape_debug().take(100).collect();
        let repetition = match self.repetition {
            Some(0) | None => "",
            Some(1) => "optional ",
            Some(_) => "repeated ",
        };
        match (self.kind, self.children) {
            (Some(kind), _) => write!(f, "{repetition}`{name}` of type {kind}"),
            (None, children) => write!(f, "{repetition}`{name}` of {children} parts"),
        }
    }
}

fn flatten(node: &Type, into: &mut Vec<Node>) {
    let info = node.get_basic_info();
    let root = into.is_empty();
    let name = (!root).then(|| node.name().to_string());
    let repetition = info.has_repetition().then(|| info.repetition() as i64).filter(|_| !root);
    match node.is_group() {
        true => {
            let children = node.get_fields();
            into.push(Node { name, repetition, kind: None, children: children.len() as i64 });
            children.iter().for_each(|child| flatten(child, into));
        }
        false => {
            let kind = Some(node.get_physical_type() as i64);
            into.push(Node { name, repetition, kind, children: 0 });
        }
    }
}

/// Which bytes of a file are taken: writers put chunks, and page indexes, one after the other.
struct Places<'a> {
    /// The bytes that page indexes are in.
    indexes: &'a [u8],
    /// Where they begin in the file.
    offset: u64,
    next_index: usize,
    next_chunk: u64,
    /// Where the chunks end.
    end: u64,
}

impl<'a> Places<'a> {
    /// The end of the chunk of `length` bytes at `start`.
    fn chunk(&mut self, start: u64, length: u64) -> Result<u64, String> {
        let stop = start.checked_add(length).filter(|&stop| stop <= self.end);
        let stop = stop.filter(|_| start >= self.next_chunk);
        let stop = stop.ok_or_else(|| {
            let (next, end) = (self.next_chunk, self.end);
            format!("{length} bytes at byte {start}; expected some of the bytes {next} to {end}")
        })?;
        self.next_chunk = stop;
        Ok(stop)
    }

    /// The offset index of a chunk.
    fn index(&mut self, chunk: &Fields) -> Result<Fields<'a>, String> {
        let at = chunk.size(4)?.checked_sub(self.offset).map(|at| at as usize);
        let length = usize::try_from(chunk.size(5)?).unwrap_or(usize::MAX);
        let at = at.filter(|&at| at >= self.next_index);
        let end = at.and_then(|at| at.checked_add(length));
        let (Some(at), Some(end)) = (at, end.filter(|&end| end <= self.indexes.len())) else {
            return Err("an offset index outside the footer, or over another one".into());
        };
        self.next_index = end;
        Ok(Fields::of(&self.indexes[at..end])?.0)
    }
}

fn chunk_of(
    fields: &Fields,
    column: &Column,
    rows: u64,
    places: &mut Places,
) -> Result<Chunk, String> {
    if fields.ids().any(|id| id == 1 || id > 7) {
        return Err("it is in another file, or encrypted".into());
    }
    let about = fields.fields(3)?;
    let kind = about.number(1)?;
    if kind != column.kind as i64 {
        return Err(format!("type {kind}; expected {}", column.kind as i64));
    }
    let codec = about.number(4)?;
    if codec != ZSTD {
        return Err(format!("compression {codec}; expected zstd"));
    }
    let (values, length) = (about.size(5)?, about.size(7)?);
    let most = rows.checked_mul(column.row_values()).filter(|&most| most <= i64::MAX as u64);
    if values < rows || most.is_none_or(|most| values > most) {
        return Err(format!("{values} values of {rows} rows; expected {}", column.row_values()));
    }
    if column.list.is_some()
        && column.kind == PhysicalType::FLOAT
        && values.saturating_mul(4) > length.saturating_mul(MOST_EXPANSION)
    {
        return Err(format!("{values} values in {length} bytes, which cannot hold them"));
    }
    let first = about.size(9)?;
    let start = match about.optional_number(11)? {
        None => first,
        Some(dictionary) => u64::try_from(dictionary).unwrap_or(u64::MAX),
    };
    let stop = places.chunk(start, length)?;
    let dictionary_bytes =
        first.checked_sub(start).ok_or_else(|| format!("its dictionary is behind byte {first}"))?;
    if dictionary_bytes > 0 && column.kind != PhysicalType::BYTE_ARRAY {
        return Err("a dictionary, which only texts have".into());
    }
    let index = places.index(fields)?;
    let pages = pages_of(&index, rows, first, stop)?;
    Ok(Chunk { start, length, dictionary_bytes, pages })
}

/// The data pages of a chunk, which fill its bytes from `start` to `stop` and share its rows.
fn pages_of(index: &Fields, rows: u64, start: u64, stop: u64) -> Result<Vec<Page>, String> {
    let locations = index.structs(1)?;
    let first_row = |at: usize| match locations.get(at) {
        Some(location) => location.size(3),
        None => Ok(rows),
    };
    let mut pages = Vec::with_capacity(locations.len());
    let (mut next, mut row) = (start, first_row(0)?);
    for (at, location) in locations.iter().enumerate() {
        let (begin, length, below) = (location.size(1)?, location.size(2)?, first_row(at + 1)?);
        if begin != next || length == 0 || length > i32::MAX as u64 || below <= row {
            return Err(format!("its page {at} does not follow the one before"));
        }
        next = begin.saturating_add(length);
        pages.push(Page { start: begin, length, rows: below - row });
        row = below;
    }
    if next != stop || row != rows || first_row(0)? != 0 {
        return Err("its pages do not fill it".into());
    }
    Ok(pages)
}
