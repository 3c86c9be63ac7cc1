//! What must hold of any .proto files.

use std::fs;

use super::{generate, is_generated};

/// What separates the files of an input; its name stands behind it, up to the end of the line.
const SEPARATOR: &[u8] = b"\n---- ";

/// Any bytes as .proto files: code that parses, or an error with its place. The first file is
/// `a.proto`.
pub(crate) fn proto(input: &[u8]) {
    let project = tempfile::tempdir().expect("a temporary folder");
    let folder = project.path().join("proto");
    fs::create_dir(&folder).expect("an empty folder");
    fs::write(folder.join("a.proto"), b"").expect("a new file");
    let (mut name, mut rest) = ("a.proto".to_owned(), input);
    loop {
        let end = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        fs::write(folder.join(&name), &rest[..end.unwrap_or(rest.len())]).expect("a new file");
        let Some(end) = end else { break };
        rest = &rest[end + SEPARATOR.len()..];
        let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        name = match &rest[..line] {
            b"b.proto" => "b.proto".to_owned(),
            b"set" => "set.binpb".to_owned(),
            _ => "c.proto".to_owned(),
        };
        rest = &rest[line.min(rest.len())..];
    }
    match generate(project.path()) {
        Ok(_) => {
            assert!(is_generated(project.path()));
            let again = generate(project.path()).expect("what was generated once is generated again");
            assert!(again.is_empty(), "{again:?} changed without a reason");
        }
        Err(error) => {
            let text = format!("{error:#}");
            assert!(names_place(&text) || is_of_whole_file(&text), "no place is named: {text}");
            for panicked in ["cannot be compiled:", "no Rust code can be generated", "does not parse"] {
                // An error may quote the input.
                let quoted = String::from_utf8_lossy(input).contains(panicked);
                assert!(quoted || !text.contains(panicked), "{text}");
            }
        }
    }
}

/// Whether a text names a file with line and column.
fn names_place(text: &str) -> bool {
    text.match_indices(".proto:").any(|(at, before)| {
        let mut numbers = text[at + before.len()..].splitn(3, ':').map(str::parse::<u32>);
        matches!((numbers.next(), numbers.next()), (Some(Ok(1..)), Some(Ok(1..))))
    })
}

/// Whether a text names a file, and something that has no one place in it.
fn is_of_whole_file(text: &str) -> bool {
    text.contains(".binpb")
        || ["multiple package", "import cycle"].iter().any(|what| text.contains(what))
            && text.contains(".proto")
}
