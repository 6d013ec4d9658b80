//! What can be wrong with a pickle, and text of a file for a message.

/// What can be wrong with a pickle.
#[derive(Debug, thiserror::Error)]
pub enum PickleError {
    /// Something that Python would import and run.
    #[error("the file asks for `{module}.{name}` to be called; refused")]
    Refused {
        /// The module, as the file names it.
        module: String,
        /// The function or class.
        name: String,
    },
    /// A call of, or a state for, something that has none.
    #[error("byte {at}: the file asks for {what}; refused")]
    RefusedValue {
        /// Where, from 0.
        at: usize,
        /// What it asks for.
        what: &'static str,
    },
    /// The file ends too early.
    #[error("byte {at}: {wanted} bytes should follow, {left} do; the file is cut short or damaged")]
    CutShort {
        /// Where, from 0.
        at: usize,
        /// Bytes that were promised.
        wanted: u64,
        /// Bytes that exist.
        left: usize,
    },
    /// A protocol that Python did not have.
    #[error("protocol {found} of Python's pickles; expected 0 to 5")]
    Protocol {
        /// Its number.
        found: u8,
    },
    /// An instruction that plain data does not need.
    #[error(
        "byte {at}: instruction 0x{code:02x}; expected a pickle of dictionaries, lists, texts, numbers and arrays"
    )]
    Instruction {
        /// Where, from 0.
        at: usize,
        /// The instruction.
        code: u8,
    },
    /// An instruction that does not find the values that it works on.
    #[error("byte {at}: {found}; the file is damaged")]
    Misplaced {
        /// Where, from 0.
        at: usize,
        /// What was found.
        found: &'static str,
    },
    /// What should be a number or a text and is not.
    #[error("byte {at}: not {expected}; the file is damaged")]
    Unreadable {
        /// Where, from 0.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// More than any archive of CIFAR or state dict has.
    #[error("byte {at}: more than {most} {what}; files of this kind have fewer")]
    TooMany {
        /// Where, from 0.
        at: usize,
        /// How many there may be.
        most: usize,
        /// Of what.
        what: &'static str,
    },
    /// A numpy array that is not as numpy writes it.
    #[error("byte {at}: a numpy array {found}; the file is damaged or of another kind")]
    Array {
        /// Where, from 0.
        at: usize,
        /// What is wrong.
        found: String,
    },
    /// A tensor that is not as PyTorch writes it, or that reaches beyond its values.
    #[error("byte {at}: a tensor {found}; the file is damaged or of another kind")]
    Tensor {
        /// Where, from 0.
        at: usize,
        /// What is wrong.
        found: String,
    },
}

/// Text of a file for a message: short, and without what a terminal would act on.
pub(super) fn printable(text: &[u8]) -> String {
    const MOST_SHOWN: usize = 80;
    let shown = String::from_utf8_lossy(&text[..text.len().min(4 * MOST_SHOWN)]);
    shown.chars().take(MOST_SHOWN).flat_map(char::escape_debug).collect()
}
