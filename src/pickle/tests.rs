//! Pickles as Python writes them, and pickles made to do harm.

use proptest::prelude::*;

use super::*;
use crate::rng::{KeyedRng, Stage};

fn read(input: &[u8]) -> Result<Pickle<'_>, PickleError> {
    Pickle::read(input, Dialect::Numpy)
}

fn error(input: &[u8]) -> String {
    read(input).unwrap_err().to_string()
}

#[test]
fn every_protocol_of_python_2_and_3_gives_the_same_values() {
    for (writer, input) in WRITTEN {
        let pickle = read(input).unwrap_or_else(|e| panic!("{writer}: {e}"));
        let part = |key| pickle.root().get(key).unwrap_or_else(|| panic!("{writer}: {key}"));
        let (rows, columns, data) = part("data").byte_rows().unwrap();
        assert_eq!((rows, columns, &data[..]), (2, 3, &[0, 10, 92, 39, 128, 255][..]), "{writer}");
        assert_eq!(part("labels").integers().unwrap(), [3, -1, 70_000], "{writer}");
        assert_eq!(part("names").texts().unwrap(), ["a\\b", "it's"], "{writer}");
        assert_eq!(part("far").integers().unwrap(), [1, -2, 300], "{writer}");
        assert!(pickle.root().get("other").is_none());
        assert_eq!(part("data").describe(), "an array of shape [2, 3] and type u1");
        assert!(part("far").byte_rows().is_none() && part("data").integers().is_none());
        assert!(part("labels").texts().is_none() && part("names").integers().is_none());
    }
}

#[test]
fn a_column_major_array_is_read_row_by_row() {
    let written = b"\x80\x02cnumpy._core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\
        \x85q\x02c_codecs\nencode\nq\x03X\x01\x00\x00\x00bq\x04X\x06\x00\x00\x00latin1q\x05\x86q\x06R\
        q\x07\x87q\x08Rq\t(K\x01K\x02K\x03\x86q\ncnumpy\ndtype\nq\x0bX\x02\x00\x00\x00u1q\x0c\x89\x88\
        \x87q\rRq\x0e(K\x03X\x01\x00\x00\x00|q\x0fNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x10b\
        \x88h\x03X\x06\x00\x00\x00\x00\x03\x01\x04\x02\x05q\x11h\x05\x86q\x12Rq\x13tq\x14b.";
    let pickle = read(written).unwrap();
    let (rows, columns, data) = pickle.root().byte_rows().unwrap();
    assert_eq!((rows, columns, &data[..]), (2, 3, &[0, 1, 2, 3, 4, 5][..]));
}

#[test]
fn texts_and_numbers_of_the_old_protocols() {
    let texts = |input: &[u8]| read(input).unwrap().root().texts().unwrap();
    assert_eq!(texts(b"(lS'a\\n\\t\\'\\x41'\naS\"b\"\na."), ["a\n\t'A", "b"]);
    // A byte of a unicode text is a character of Latin-1.
    assert_eq!(texts(b"(lV\xe9\\u20ac\\U0001f426\\\na."), ["\u{e9}\u{20ac}\u{1f426}\\"]);
    let integers = |input: &[u8]| read(input).unwrap().root().integers().unwrap();
    assert_eq!(
        integers(
            b"(lI01\naI-7\naL99999999999L\na\x8a\x00a\x8a\x02\x00\xffa\x8b\x01\x00\x00\x00\x7fa."
        ),
        [1, -7, 99_999_999_999, 0, -256, 127]
    );
    for bad in [
        &b"(lI1x\na."[..],
        b"(lL1e3\na.",
        b"\x8a\x09\x01\x01\x01\x01\x01\x01\x01\x01\x01.",
        b"S'a\n.",
        b"S'\n.",
        b"S\n.",
        b"S'\\q'\n.",
        b"S'\\x4'\n.",
        b"V\\u12\n.",
        b"V\\ud800\n.",
        b"X\x01\x00\x00\x00\xff.",
        b"p-1\n.",
    ] {
        assert!(error(bad).contains(": not "), "{}: {}", bad.escape_ascii(), error(bad));
    }
}

#[test]
fn nothing_that_would_run_is_read() {
    let refused = |input: &[u8], name: &str| {
        let message = error(input);
        let wanted = format!("the file asks for `{name}` to be called; refused");
        assert!(message.starts_with(&wanted), "{}: {message}", input.escape_ascii());
    };
    refused(b"cos\nsystem\n(S'rm -rf ~'\ntR.", "os.system");
    refused(b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.", "posix.system");
    refused(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.", "os.system");
    refused(b"(S'ls'\nios\nsystem\n.", "os.system");
    refused(b"(cos\nsystem\nS'ls'\no.", "os.system");
    refused(b"\x80\x02cbuiltins\neval\n)\x81.", "builtins.eval");
    refused(b"c__builtin__\nbytearray\n)R.", "__builtin__.bytearray");
    // Names that are known, in a use that is not.
    refused(b"cnumpy\nndarray\n(I5\ntR.", "numpy.ndarray");
    refused(b"(I5\ninumpy\ndtype\n.", "numpy.dtype");
    refused(b"(cnumpy\ndtype\nI5\no.", "numpy.dtype");
    refused(b"\x80\x02cnumpy\nndarray\n)\x81.", "numpy.ndarray");
    refused(b"\x80\x04cnumpy\nndarray\n)}\x92.", "numpy.ndarray");
    refused(b"cnumpy\nload\n(S'x'\ntR.", "numpy.load");
    refused(b"cnumpy.core.multiarray\nscalar\n(tR.", "numpy.core.multiarray.scalar");
    // What a terminal would act on, and what would fill it.
    refused(b"c\x1b[2J\nx\n.", "\\u{1b}[2J.x");
    let long = [b"c", &b"m".repeat(1 << 20)[..], b"\nf\n."].concat();
    refused(&long, &format!("{}.f", "m".repeat(80)));
    for input in [&b"S'os'\n)R."[..], b"}}b.", b"S'a'\n(tb.", b"(I5\no.", b"(o.", b"}))\x92."] {
        let message = error(input);
        assert!(message.contains("asks for") && message.contains("refused"), "{message}");
    }
    // A persistent name, an extension, a set, a buffer outside the stream.
    for input in [&b"Pname\n."[..], b"I1\nQ.", b"\x82\x01.", b"\x8f.", b"\x97."] {
        assert!(error(input).contains(": instruction 0x"), "{}", error(input));
    }
}

#[test]
fn promises_that_the_file_does_not_keep_are_errors() {
    for (input, wanted) in [
        (&b"T\xff\xff\xff\xffabc."[..], "byte 5: 4294967295 bytes should follow, 4 do"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "18446744073709551615 bytes should follow"),
        (b"\x96\x00\x00\x00\x00\x00\x00\x00\x40.", "4611686018427387904 bytes should follow"),
        (b"\x80\x04\x95\x00\x00\x00\x00\x00\x01\x00\x00N.", "1099511627776 bytes should follow"),
        (b"X\x05\x00\x00\x00abc.", "byte 5: 5 bytes should follow, 4 do"),
        (b"\x8b\xff\xff\xff\xff.", "4294967295 bytes should follow"),
        (b"S'no end", "bytes should follow"),
        (b"cos", "bytes should follow"),
        (b"", "byte 0: 1 bytes should follow, 0 do"),
        (b"N", "byte 1: 1 bytes should follow, 0 do"),
        (b"\x80\x06N.", "protocol 6 of Python's pickles; expected 0 to 5"),
    ] {
        assert!(error(input).contains(wanted), "{}: {}", input.escape_ascii(), error(input));
    }
}

#[test]
fn instructions_without_their_values_are_errors() {
    for input in [
        &b"."[..],
        b"a.",
        b"]a.",
        b"}I1\ns.",
        b"(.",
        b"I1\n(a.",
        b"e.",
        b"t.",
        b"I1\nI2\na.",
        b"(I1\nd.",
        b"](I1\nI2\nu.",
        b"h\x05.",
        b"g7\n.",
        b"j\x01\x00\x00\x00.",
        b"q\x00.",
        b"\x94.",
        b"0.",
        b"2.",
        b"1.",
        b"R.",
        b"b.",
        b"\x86.",
        b"\x93.",
        b"I1\nI2\n\x93.",
        b"cnumpy\ndtype\nI1\nR.",
        b"(I1\nI2\nI3\nI4\nI5\nI6\nI7\nI8\nI9\nI10\ntp1\n0cnumpy\ndtype\ng1\nR.",
    ] {
        assert!(error(input).ends_with("the file is damaged"), "{}", input.escape_ascii());
    }
    // A mark may be taken off, and a second value may follow the first pickle.
    assert_eq!(read(b"(0I1\n.I2\n.").unwrap().root().describe(), "a number");
}

#[test]
fn arrays_must_be_as_numpy_writes_them() {
    let array = |shape: &str, kind: &str, order: &str, bytes: &str| {
        let element =
            format!("cnumpy\ndtype\n(S'{kind}'\nI0\nI1\ntR(I3\nS'{order}'\nNNNI-1\nI-1\nI0\ntb");
        format!(
            "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR\
             (I1\n({shape}t{element}I00\nS'{bytes}'\ntb."
        )
    };
    let good = array("I2\nI1\n", "u1", "|", "ab");
    assert_eq!(read(good.as_bytes()).unwrap().root().byte_rows().unwrap().2[..], *b"ab");
    for (input, wanted) in [
        (array("I2\nI2\n", "u1", "|", "ab"), "with 2 bytes: an array of shape [2, 2] and type u1"),
        (array("I2\n", "i8", "<", "ab"), "with 2 bytes: an array of shape [2] and type i8"),
        (array("I-1\n", "u1", "|", "ab"), "without a shape"),
        (array("I4611686018427387904\nI4\n", "u1", "|", ""), "with 0 bytes"),
        (array(&"I1\n".repeat(9), "u1", "|", "a"), "without a shape"),
        (array("I1\n", "O8", "|", "a"), "of type `O8`"),
        (array("I1\n", "u3", "|", "a"), "of type `u3`"),
        (array("I1\n", "u1", "!", "a"), "of unknown byte order"),
        (good.replace("NNN", "NNS'x'\n"), "whose values have parts"),
        (good.replace("S'ab'", "(lp1"), "whose values are not bytes"),
        (good.replace("(I1\n(I2\nI1\nt", "(I1\nI1\nI1\n(I2\nI1\nt"), "is not as numpy writes it"),
        (good.replace("(cnumpy\nndarray", "(cnumpy\ndtype"), "of a class that is not numpy's own"),
        ("cnumpy.core.numeric\n_frombuffer\n(tR.".into(), "is not as numpy writes it"),
    ] {
        let message = error(input.as_bytes());
        assert!(
            message.contains("a numpy array") && message.contains(wanted),
            "{wanted}: {message}"
        );
    }
    // A state is set once.
    let again = good.replace("tb.", "tb(I1\ntb.");
    assert!(error(again.as_bytes()).contains("refused"), "{}", error(again.as_bytes()));
    // Large unsigned numbers do not become negative ones.
    let large = array("I1\n", "u8", "<", &"\\xff".repeat(8));
    assert!(read(large.as_bytes()).unwrap().root().integers().is_none());
}

#[test]
fn the_number_of_values_is_bounded_and_nesting_costs_nothing() {
    let many = |unit: &[u8], count| [&unit.repeat(count)[..], b"."].concat();
    assert!(error(&many(b"]", (1 << 20) + 1)).contains("more than 1048576 values"));
    assert!(error(&many(b"N0", (1 << 20) + 1)).contains("more than 1048576 values"));
    assert!(error(&many(b"(", 101)).contains("more than 100 lists in each other"));
    let stored: Vec<u8> =
        (0..(1u32 << 20) + 1).flat_map(|key| [&b"r"[..], &key.to_le_bytes()].concat()).collect();
    assert!(error(&[b"N", &stored[..], b"."].concat()).contains("more than 1048576 stored values"));
    // A million lists in each other, and a list that holds itself.
    let nested = [&b"]".repeat(1_000_000)[..], &b"a".repeat(999_999), b"."].concat();
    assert_eq!(read(&nested).unwrap().root().describe(), "a list of 1");
    let own = read(b"]q\x00h\x00a.").unwrap();
    assert_eq!(own.root().describe(), "a list of 1");
    assert!(own.root().texts().is_none() && own.root().integers().is_none());
    // A text of 100 KB that is encoded 1,000 times, which would take 100 MB.
    let text = [b"X\xa0\x86\x01\x00", &b"x".repeat(100_000)[..], b"q\x00"].concat();
    let encode = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R".repeat(1_000);
    assert!(error(&[text, encode, b".".to_vec()].concat()).contains("characters of encoded text"));
}

/// Some bytes changed, inserted or taken out, or all after one of them cut off.
fn changed(bytes: &[u8], rng: &mut KeyedRng) -> Vec<u8> {
    const CODES: &[u8] = b".(012IJKLMNRTUSVXabceghijlopqrstdu}])\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x92\x93\x94\x95\xff";
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u32) as usize;
        let code = CODES[rng.below(CODES.len() as u32) as usize];
        match rng.below(5) {
            0 if bytes.len() > 1 => drop(bytes.remove(at)),
            1 => bytes.insert(at, code),
            2 => bytes[at] = rng.below(256) as u8,
            3 if rng.below(4) == 0 => bytes.truncate(at.max(1)),
            _ => bytes[at] = code,
        }
    }
    bytes
}

/// All that a caller may ask for; none of it may panic.
fn ask(input: &[u8]) {
    let Ok(pickle) = read(input) else { return };
    let parts = ["data", "labels", "names", "far"].map(|key| pickle.root().get(key));
    for value in parts.into_iter().flatten().chain([pickle.root()]) {
        let _ = (value.describe(), value.texts(), value.integers());
        if let Some((rows, columns, data)) = value.byte_rows() {
            assert_eq!(rows * columns, data.len());
        }
    }
}

#[test]
fn damaged_files_are_errors_or_other_values_but_never_a_panic() {
    let rounds = std::env::var("FSA_BANK_FUZZ_ROUNDS").map_or(3_000, |n| n.parse().unwrap());
    for (number, (_, input)) in WRITTEN.iter().enumerate() {
        let mut rng = KeyedRng::new(8, Stage::InitialWeights, (number as u64, 0));
        (0..rounds).for_each(|_| ask(&changed(input, &mut rng)));
        (0..input.len()).for_each(|length| assert!(read(&input[..length]).is_err()));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(input in prop::collection::vec(any::<u8>(), 0..200)) {
        ask(&input);
    }

    #[test]
    fn any_program_is_read_or_refused(
        input in prop::collection::vec(
            prop::sample::select(PARTS.to_vec()).prop_map(<[u8]>::to_vec), 0..60
        ).prop_map(|parts| parts.concat())
    ) {
        ask(&input);
        ask(&[input, b".".to_vec()].concat());
    }
}

/// Instructions with fitting arguments.
const PARTS: &[&[u8]] = &[
    b"(",
    b")",
    b"]",
    b"}",
    b"N",
    b"0",
    b"1",
    b"2",
    b"t",
    b"l",
    b"d",
    b"a",
    b"e",
    b"s",
    b"u",
    b"R",
    b"b",
    b"o",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x88",
    b"\x81",
    b"\x92",
    b"\x93",
    b"\x94",
    b"K\x01",
    b"K\x00",
    b"I2\n",
    b"q\x00",
    b"q\x01",
    b"h\x00",
    b"h\x01",
    b"U\x04data",
    b"X\x02\x00\x00\x00u1",
    b"X\x06\x00\x00\x00latin1",
    b"S'|'\n",
    b"cnumpy\ndtype\n",
    b"cnumpy\nndarray\n",
    b"c_codecs\nencode\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy.core.numeric\n_frombuffer\n",
    b"X\x01\x00\x00\x00C",
];

/// {"data": [[0, 10, 92], [39, 128, 255]] (u1), "labels": [3, -1, 70000], "names": ["a\\b", "it's"],
/// "far": [1, -2, 300] (big-endian i2)}, as Python 2.7 with numpy 1.16 and Python 3.11 with numpy 2.4
/// write it.
const WRITTEN: [(&str, &[u8]); 9] = [
    ("Python 2, protocol 0", b"(dp1\nS'far'\np2\ncnumpy.core.multiarray\n_reconstruct\np3\n(cnumpy\nndarray\np4\n(I0\ntS'b'\ntRp5\n(I1\n(I3\ntcnumpy\ndtype\np6\n(S'i2'\nI0\nI1\ntRp7\n(I3\nS'>'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\x01\\xff\\xfe\\x01,'\ntbsS'labels'\np8\n(lp9\nI3\naI-1\naI70000\nasS'data'\np10\ng3\n(g4\n(I0\ntS'b'\ntRp11\n(I1\n(I2\nI3\ntg6\n(S'u1'\nI0\nI1\ntRp12\n(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS\"\\x00\\n\\\\'\\x80\\xff\"\ntbsS'names'\np13\n(lp14\nS'a\\\\b'\np15\naS\"it's\"\np16\nas."),
    ("Python 2, protocol 1", b"}q\x01(U\x03farq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03(cnumpy\nndarray\nq\x04(K\x00tU\x01btRq\x05(K\x01(K\x03tcnumpy\ndtype\nq\x06(U\x02i2K\x00K\x01tRq\x07(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbI00\nU\x06\x00\x01\xff\xfe\x01,tbU\x06labelsq\x08]q\x09(K\x03J\xff\xff\xff\xffJp\x11\x01\x00eU\x04dataq\nh\x03(h\x04(K\x00tU\x01btRq\x0b(K\x01(K\x02K\x03th\x06(U\x02u1K\x00K\x01tRq\x0c(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbI00\nU\x06\x00\n\\'\x80\xfftbU\x05namesq\x0d]q\x0e(U\x03a\\bq\x0fU\x04it'sq\x10eu."),
    ("Python 2, protocol 2", b"\x80\x02}q\x01(U\x03farq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x03\x85cnumpy\ndtype\nq\x06U\x02i2K\x00K\x01\x87Rq\x07(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\x00\x01\xff\xfe\x01,tbU\x06labelsq\x08]q\x09(K\x03J\xff\xff\xff\xffJp\x11\x01\x00eU\x04dataq\nh\x03h\x04K\x00\x85U\x01b\x87Rq\x0b(K\x01K\x02K\x03\x86h\x06U\x02u1K\x00K\x01\x87Rq\x0c(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\x00\n\\'\x80\xfftbU\x05namesq\x0d]q\x0e(U\x03a\\bq\x0fU\x04it'sq\x10eu."),
    ("Python 3, protocol 0", b"(dp0\nVdata\np1\ncnumpy._core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nc_codecs\nencode\np5\n(Vb\np6\nVlatin1\np7\ntp8\nRp9\ntp10\nRp11\n(I1\n(I2\nI3\ntp12\ncnumpy\ndtype\np13\n(Vu1\np14\nI00\nI01\ntp15\nRp16\n(I3\nV|\np17\nNNNI-1\nI-1\nI0\ntp18\nbI00\ng5\n(V\\u0000\\u000a\\u005c'\x80\xff\np19\ng7\ntp20\nRp21\ntp22\nbsVlabels\np23\n(lp24\nI3\naI-1\naI70000\nasVnames\np25\n(lp26\nVa\\u005cb\np27\naVit's\np28\nasVfar\np29\ng2\n(g3\n(I0\ntp30\ng9\ntp31\nRp32\n(I1\n(I3\ntp33\ng13\n(Vi2\np34\nI00\nI01\ntp35\nRp36\n(I3\nV>\np37\nNNNI-1\nI-1\nI0\ntp38\nbI00\ng5\n(V\\u0000\x01\xff\xfe\x01,\np39\ng7\ntp40\nRp41\ntp42\nbs."),
    ("Python 3, protocol 1", b"}q\x00(X\x04\x00\x00\x00dataq\x01cnumpy._core.multiarray\n_reconstruct\nq\x02(cnumpy\nndarray\nq\x03(K\x00tq\x04c_codecs\nencode\nq\x05(X\x01\x00\x00\x00bq\x06X\x06\x00\x00\x00latin1q\x07tq\x08Rq\x09tq\nRq\x0b(K\x01(K\x02K\x03tq\x0ccnumpy\ndtype\nq\x0d(X\x02\x00\x00\x00u1q\x0eI00\nI01\ntq\x0fRq\x10(K\x03X\x01\x00\x00\x00|q\x11NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x12bI00\nh\x05(X\x08\x00\x00\x00\x00\n\\'\xc2\x80\xc3\xbfq\x13h\x07tq\x14Rq\x15tq\x16bX\x06\x00\x00\x00labelsq\x17]q\x18(K\x03J\xff\xff\xff\xffJp\x11\x01\x00eX\x05\x00\x00\x00namesq\x19]q\x1a(X\x03\x00\x00\x00a\\bq\x1bX\x04\x00\x00\x00it'sq\x1ceX\x03\x00\x00\x00farq\x1dh\x02(h\x03(K\x00tq\x1eh\x09tq\x1fRq (K\x01(K\x03tq!h\x0d(X\x02\x00\x00\x00i2q\"I00\nI01\ntq#Rq$(K\x03X\x01\x00\x00\x00>q%NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq&bI00\nh\x05(X\x08\x00\x00\x00\x00\x01\xc3\xbf\xc3\xbe\x01,q'h\x07tq(Rq)tq*bu."),
    ("Python 3, protocol 2", b"\x80\x02}q\x00(X\x04\x00\x00\x00dataq\x01cnumpy._core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04c_codecs\nencode\nq\x05X\x01\x00\x00\x00bq\x06X\x06\x00\x00\x00latin1q\x07\x86q\x08Rq\x09\x87q\nRq\x0b(K\x01K\x02K\x03\x86q\x0ccnumpy\ndtype\nq\x0dX\x02\x00\x00\x00u1q\x0e\x89\x88\x87q\x0fRq\x10(K\x03X\x01\x00\x00\x00|q\x11NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x12b\x89h\x05X\x08\x00\x00\x00\x00\n\\'\xc2\x80\xc3\xbfq\x13h\x07\x86q\x14Rq\x15tq\x16bX\x06\x00\x00\x00labelsq\x17]q\x18(K\x03J\xff\xff\xff\xffJp\x11\x01\x00eX\x05\x00\x00\x00namesq\x19]q\x1a(X\x03\x00\x00\x00a\\bq\x1bX\x04\x00\x00\x00it'sq\x1ceX\x03\x00\x00\x00farq\x1dh\x02h\x03K\x00\x85q\x1eh\x09\x87q\x1fRq (K\x01K\x03\x85q!h\x0dX\x02\x00\x00\x00i2q\"\x89\x88\x87q#Rq$(K\x03X\x01\x00\x00\x00>q%NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq&b\x89h\x05X\x08\x00\x00\x00\x00\x01\xc3\xbf\xc3\xbe\x01,q'h\x07\x86q(Rq)tq*bu."),
    ("Python 3, protocol 3", b"\x80\x03}q\x00(X\x04\x00\x00\x00dataq\x01cnumpy._core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04C\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02K\x03\x86q\x08cnumpy\ndtype\nq\x09X\x02\x00\x00\x00u1q\n\x89\x88\x87q\x0bRq\x0c(K\x03X\x01\x00\x00\x00|q\x0dNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89C\x06\x00\n\\'\x80\xffq\x0ftq\x10bX\x06\x00\x00\x00labelsq\x11]q\x12(K\x03J\xff\xff\xff\xffJp\x11\x01\x00eX\x05\x00\x00\x00namesq\x13]q\x14(X\x03\x00\x00\x00a\\bq\x15X\x04\x00\x00\x00it'sq\x16eX\x03\x00\x00\x00farq\x17h\x02h\x03K\x00\x85q\x18h\x05\x87q\x19Rq\x1a(K\x01K\x03\x85q\x1bh\x09X\x02\x00\x00\x00i2q\x1c\x89\x88\x87q\x1dRq\x1e(K\x03X\x01\x00\x00\x00>q\x1fNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq b\x89C\x06\x00\x01\xff\xfe\x01,q!tq\"bu."),
    ("Python 3, protocol 4", b"\x80\x04\x95\x1c\x01\x00\x00\x00\x00\x00\x00}\x94(\x8c\x04data\x94\x8c\x16numpy._core.multiarray\x94\x8c\x0c_reconstruct\x94\x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\x00\x85\x94C\x01b\x94\x87\x94R\x94(K\x01K\x02K\x03\x86\x94h\x05\x8c\x05dtype\x94\x93\x94\x8c\x02u1\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94b\x89C\x06\x00\n\\'\x80\xff\x94t\x94b\x8c\x06labels\x94]\x94(K\x03J\xff\xff\xff\xffJp\x11\x01\x00e\x8c\x05names\x94]\x94(\x8c\x03a\\b\x94\x8c\x04it's\x94e\x8c\x03far\x94h\x04h\x07K\x00\x85\x94h\x09\x87\x94R\x94(K\x01K\x03\x85\x94h\x0e\x8c\x02i2\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01>\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94b\x89C\x06\x00\x01\xff\xfe\x01,\x94t\x94bu."),
    ("Python 3, protocol 5", b"\x80\x05\x95\x02\x01\x00\x00\x00\x00\x00\x00}\x94(\x8c\x04data\x94\x8c\x13numpy._core.numeric\x94\x8c\x0b_frombuffer\x94\x93\x94(\x96\x06\x00\x00\x00\x00\x00\x00\x00\x00\n\\'\x80\xff\x94\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02u1\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94bK\x02K\x03\x86\x94\x8c\x01C\x94t\x94R\x94\x8c\x06labels\x94]\x94(K\x03J\xff\xff\xff\xffJp\x11\x01\x00e\x8c\x05names\x94]\x94(\x8c\x03a\\b\x94\x8c\x04it's\x94e\x8c\x03far\x94h\x04(\x96\x06\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff\xfe\x01,\x94h\x08\x8c\x02i2\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01>\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94bK\x03\x85\x94h\x0ft\x94R\x94u."),
];
