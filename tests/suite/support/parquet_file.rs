//! A shard taken apart into footer, pages and page indexes, each of which a test can change, and put
//! together again with the manifest's entry that fits it.

use std::collections::BTreeMap;

use fsa_bank::bank::{Checksum, Manifest, RowGroupEntry, ShardEntry};

/// A value in Thrift's compact protocol.
#[derive(Debug, Clone, PartialEq)]
pub enum Thrift {
    Bool(bool),
    Byte(u8),
    I16(i64),
    I32(i64),
    I64(i64),
    Bytes(Vec<u8>),
    /// Kind of the elements, and they.
    List(u8, Vec<Thrift>),
    Struct(BTreeMap<i16, Thrift>),
    /// A kind, and what follows it as it stands.
    Raw(u8, Vec<u8>),
}

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn zigzag(value: i64) -> Vec<u8> {
    varint((value << 1 ^ value >> 63) as u64)
}

impl Thrift {
    pub fn structure() -> Self {
        Self::Struct(BTreeMap::new())
    }

    pub fn text(text: &str) -> Self {
        Self::Bytes(text.into())
    }

    pub fn field(&mut self, id: i16) -> Option<&mut Self> {
        match self {
            Self::Struct(fields) => fields.get_mut(&id),
            _ => None,
        }
    }

    /// Field `id`, which must be there.
    pub fn at(&mut self, id: i16) -> &mut Self {
        self.field(id).unwrap_or_else(|| panic!("field {id}"))
    }

    /// Sets a field of a struct.
    pub fn set(&mut self, id: i16, value: Thrift) {
        if let Self::Struct(fields) = self {
            fields.insert(id, value);
        }
    }

    /// Removes a field of a struct.
    pub fn remove(&mut self, id: i16) {
        if let Self::Struct(fields) = self {
            fields.remove(&id);
        }
    }

    pub fn elements(&mut self) -> Option<&mut Vec<Thrift>> {
        match self {
            Self::List(_, elements) => Some(elements),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn list(&mut self) -> &mut Vec<Thrift> {
        self.elements().expect("a list")
    }

    pub fn number(&self, id: i16) -> Option<i64> {
        match self {
            Self::Struct(fields) => match fields.get(&id)? {
                Self::I16(n) | Self::I32(n) | Self::I64(n) => Some(*n),
                _ => None,
            },
            _ => None,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Bool(true) => 1,
            Self::Bool(false) => 2,
            Self::Byte(_) => 3,
            Self::I16(_) => 4,
            Self::I32(_) => 5,
            Self::I64(_) => 6,
            Self::Bytes(_) => 8,
            Self::List(..) => 9,
            Self::Struct(_) => 12,
            Self::Raw(kind, _) => *kind,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Bool(_) => vec![],
            Self::Byte(byte) => vec![*byte],
            Self::I16(n) | Self::I32(n) | Self::I64(n) => zigzag(*n),
            Self::Bytes(bytes) => [varint(bytes.len() as u64), bytes.clone()].concat(),
            Self::List(kind, elements) => {
                let count = elements.len();
                let head = match count {
                    0..15 => vec![(count as u8) << 4 | kind],
                    _ => [vec![0xf0 | kind], varint(count as u64)].concat(),
                };
                [head, elements.iter().flat_map(Self::encode).collect()].concat()
            }
            Self::Struct(fields) => {
                let mut bytes = vec![];
                let mut before = 0;
                for (&id, value) in fields {
                    match id - before {
                        step @ 1..16 => bytes.push((step as u8) << 4 | value.kind()),
                        _ => bytes.extend([vec![value.kind()], zigzag(id.into())].concat()),
                    }
                    bytes.extend(value.encode());
                    before = id;
                }
                bytes.push(0);
                bytes
            }
            Self::Raw(_, bytes) => bytes.clone(),
        }
    }

    /// The struct that `bytes` begin with; the bytes behind it are left. `None` where it is none.
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        value(12, bytes, 0)
    }
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(first)
}

fn unsigned(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let next = byte(bytes)?;
        value |= u64::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Some(value);
        }
    }
    None
}

fn signed(bytes: &mut &[u8]) -> Option<i64> {
    let value = unsigned(bytes)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

fn value(kind: u8, bytes: &mut &[u8], depth: usize) -> Option<Thrift> {
    if depth > 20 {
        return None;
    }
    Some(match kind {
        1 | 2 => Thrift::Bool(kind == 1),
        3 => Thrift::Byte(byte(bytes)?),
        4 => Thrift::I16(signed(bytes)?),
        5 => Thrift::I32(signed(bytes)?),
        6 => Thrift::I64(signed(bytes)?),
        8 => {
            let length = unsigned(bytes)? as usize;
            let (content, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Thrift::Bytes(content.into())
        }
        9 => {
            let head = byte(bytes)?;
            let count = if head >> 4 == 15 { unsigned(bytes)? } else { u64::from(head >> 4) };
            if count > bytes.len() as u64 {
                return None;
            }
            let element = |_| value(head & 15, bytes, depth + 1);
            Thrift::List(head & 15, (0..count).map(element).collect::<Option<_>>()?)
        }
        12 => {
            let mut fields = BTreeMap::new();
            let mut id = 0i16;
            loop {
                let head = byte(bytes)?;
                if head == 0 {
                    return Some(Thrift::Struct(fields));
                }
                id = match head >> 4 {
                    0 => i16::try_from(signed(bytes)?).ok()?,
                    step => id.checked_add(step.into())?,
                };
                fields.insert(id, value(head & 15, bytes, depth + 1)?);
            }
        }
        _ => return None,
    })
}

/// A page: its header and what follows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub header: Thrift,
    pub content: Vec<u8>,
}

impl Page {
    /// What is compressed in it, if it is no more than `most` bytes.
    pub fn content_of(&self, most: usize) -> Option<Vec<u8>> {
        let bytes = usize::try_from(self.header.number(2)?).ok().filter(|&n| n <= most)?;
        zstd::bulk::decompress(&self.content, bytes).ok()
    }

    /// What is compressed in it.
    pub fn decompressed(&self) -> Vec<u8> {
        self.content_of(1 << 20).unwrap()
    }

    /// Puts other content in.
    pub fn compress(&mut self, content: &[u8]) {
        self.content = zstd::bulk::compress(content, 1).unwrap();
        self.header.set(2, Thrift::I32(content.len() as i64));
        self.header.set(3, Thrift::I32(self.content.len() as i64));
    }
}

/// A column chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    pub pages: Vec<Page>,
    /// The offset index.
    pub index: Thrift,
}

/// A Parquet file as the bank's writer makes them.
#[derive(Debug, Clone, PartialEq)]
pub struct ParquetFile {
    /// Row groups of chunks.
    pub groups: Vec<Vec<Chunk>>,
    pub footer: Thrift,
}

/// Ranges of a file, as (start, length) or (start, end).
type Spans = Vec<(usize, usize)>;

/// A file put together again.
pub struct Assembled {
    pub bytes: Vec<u8>,
    pub footer_offset: u64,
    /// Rows of each row group, and the ranges of each column that have checksums.
    groups: Vec<(u64, Vec<Spans>)>,
}

const DICTIONARY_PAGE: i64 = 2;

impl ParquetFile {
    /// Takes a file apart; `None` where it is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let length_at = bytes.len().checked_sub(8)?;
        let length = u32::from_le_bytes(bytes[length_at..][..4].try_into().ok()?) as usize;
        let begin = length_at.checked_sub(length)?;
        let mut footer = Thrift::decode(&mut &bytes[begin..length_at])?;
        let mut groups = vec![];
        for group in footer.field(4)?.elements()? {
            group.number(3)?;
            let mut chunks = vec![];
            for chunk in group.field(1)?.elements()? {
                let at = usize::try_from(chunk.number(4)?).ok()?;
                let index = Thrift::decode(&mut bytes.get(at..)?)?;
                let about = chunk.field(3)?;
                about.field(3)?.elements()?.first()?;
                let start = usize::try_from(about.number(11).or(about.number(9))?).ok()?;
                let length = usize::try_from(about.number(7)?).ok()?;
                let content = bytes.get(start..start.checked_add(length)?)?;
                chunks.push(Chunk { pages: pages(content)?, index });
            }
            groups.push(chunks);
        }
        Some(Self { groups, footer })
    }

    /// Takes a file of the bank's writer apart.
    pub fn of(bytes: &[u8]) -> Self {
        Self::read(bytes).expect("a shard")
    }

    /// The column `name` of a row group.
    pub fn column(&mut self, group: usize, name: &str) -> &mut Chunk {
        let at = self.position(name);
        &mut self.groups[group][at]
    }

    /// Where a column stands among them.
    pub fn position(&mut self, name: &str) -> usize {
        let columns = self.footer.at(4).list()[0].at(1).list();
        let named =
            |chunk: &mut Thrift| *chunk.at(3).at(3).list().first().unwrap() == Thrift::text(name);
        columns.iter_mut().position(named).unwrap()
    }

    /// Writes the pages, then the footer that tells where they are, after `edit` of it.
    pub fn assemble(&self, edit: impl FnOnce(&mut Thrift)) -> Assembled {
        let mut bytes = b"PAR1".to_vec();
        let mut footer = self.footer.clone();
        let mut groups = vec![];
        let mut indexes = vec![];
        for (chunks, group) in self.groups.iter().zip(footer.at(4).list()) {
            let rows = group.number(3).unwrap_or_default() as u64;
            let mut spans = vec![];
            for (chunk, said) in chunks.iter().zip(group.at(1).list()) {
                let start = bytes.len();
                let mut data_pages = vec![];
                for page in &chunk.pages {
                    let at = bytes.len();
                    bytes.extend(page.header.encode());
                    bytes.extend(&page.content);
                    if page.header.number(1) != Some(DICTIONARY_PAGE) {
                        data_pages.push((at, bytes.len() - at));
                    }
                }
                let mut index = chunk.index.clone();
                if let Some(places) = index.field(1).and_then(Thrift::elements) {
                    for (place, (at, length)) in places.iter_mut().zip(&data_pages) {
                        place.set(1, Thrift::I64(*at as i64));
                        place.set(2, Thrift::I32(*length as i64));
                    }
                }
                indexes.push(index);
                let about = said.at(3);
                let first = data_pages.first().map_or(start, |page| page.0);
                about.set(7, Thrift::I64((bytes.len() - start) as i64));
                about.set(9, Thrift::I64(first as i64));
                about.remove(11);
                if first > start {
                    about.set(11, Thrift::I64(start as i64));
                }
                let name = about.at(3).list()[0].clone();
                spans.push(match name == Thrift::text("feature_map") {
                    true => data_pages,
                    false => vec![(start, bytes.len() - start)],
                });
            }
            groups.push((rows, spans));
        }
        let footer_offset = bytes.len() as u64;
        let mut indexes = indexes.into_iter();
        for group in footer.at(4).list() {
            for said in group.at(1).list() {
                let index = indexes.next().unwrap().encode();
                said.set(4, Thrift::I64(bytes.len() as i64));
                said.set(5, Thrift::I32(index.len() as i64));
                said.remove(6);
                said.remove(7);
                bytes.extend(index);
            }
        }
        edit(&mut footer);
        let footer = footer.encode();
        bytes.extend(&footer);
        bytes.extend((footer.len() as u32).to_le_bytes());
        bytes.extend(b"PAR1");
        Assembled { bytes, footer_offset, groups }
    }
}

fn pages(mut bytes: &[u8]) -> Option<Vec<Page>> {
    let mut pages = vec![];
    while !bytes.is_empty() {
        let header = Thrift::decode(&mut bytes)?;
        let length = usize::try_from(header.number(3)?).ok()?;
        let (content, rest) = bytes.split_at_checked(length)?;
        pages.push(Page { header, content: content.into() });
        bytes = rest;
    }
    Some(pages)
}

impl Assembled {
    /// The manifest's entry of the file, with what `entry` says of it besides.
    pub fn entry(&self, entry: &ShardEntry) -> ShardEntry {
        let checksum = |&(at, length): &(usize, usize)| Checksum::of(&self.bytes[at..at + length]);
        let groups = self.groups.iter().map(|(rows, columns)| RowGroupEntry {
            rows: *rows,
            columns: columns.iter().map(|spans| spans.iter().map(checksum).collect()).collect(),
        });
        ShardEntry {
            bytes: self.bytes.len() as u64,
            footer_offset: self.footer_offset,
            footer_xxh3: Checksum::of(&self.bytes[self.footer_offset as usize..]),
            row_groups: groups.collect(),
            ..entry.clone()
        }
    }
}

/// A manifest's text with the checksum that it should have: of the text with 16 zeros in its place.
/// [`Manifest::save`] does the same, but waits for the disk.
pub fn sealed(manifest: &Manifest) -> String {
    let unsealed = Manifest { manifest_xxh3: Checksum::default(), ..manifest.clone() };
    let mut text = serde_json::to_string_pretty(&unsealed).unwrap();
    text.push('\n');
    let checksum = Checksum::of(text.as_bytes()).to_string();
    let at = text.rfind(&Checksum::default().to_string()).unwrap();
    text.replace_range(at..at + checksum.len(), &checksum);
    text
}
