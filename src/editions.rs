//! In which language of protobuf descriptors are written. Only those with `syntax` are understood: the
//! library that reads them panics at the editions that came after it.

use prost::{DecodeError, Message};

/// What to do about a file that is written in an edition.
pub(crate) const ADVICE: &str =
    "editions of protobuf are not supported; write `syntax = \"proto3\";` instead";

/// Of a set of descriptors, what tells the language of each file.
#[derive(Clone, PartialEq, Message)]
struct Set {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "12")]
    syntax: String,
}

/// The first file of an encoded set that is in another language than proto2 and proto3, and that language.
///
/// # Errors
/// It is no set of descriptors.
pub(crate) fn unsupported(set: &[u8]) -> Result<Option<(String, String)>, DecodeError> {
    let set = Set::decode(set)?;
    let other = |file: &File| !matches!(file.syntax.as_str(), "" | "proto2" | "proto3");
    Ok(set.files.into_iter().find(other).map(|file| (file.name, file.syntax)))
}

#[cfg(test)]
mod tests {
    use prost_types::{FileDescriptorProto, FileDescriptorSet};

    use super::*;

    #[test]
    fn a_file_of_an_edition_is_found_among_others() {
        let file = |name: &str, syntax: Option<&str>| FileDescriptorProto {
            name: Some(name.to_owned()),
            syntax: syntax.map(str::to_owned),
            ..FileDescriptorProto::default()
        };
        let known = vec![file("a", None), file("b", Some("proto2")), file("c", Some("proto3"))];
        let mut set = FileDescriptorSet { file: known };
        assert_eq!(unsupported(&set.encode_to_vec()), Ok(None));
        set.file.push(file("d.proto", Some("editions")));
        let found = unsupported(&set.encode_to_vec()).unwrap();
        assert_eq!(found, Some(("d.proto".to_owned(), "editions".to_owned())));
        assert!(unsupported(&[0x0a, 9]).is_err());
    }
}
