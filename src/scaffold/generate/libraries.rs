//! Files for the use of others, which projects copy whole more often than not: they are compiled only where
//! one is imported, since the rest of them needs more than was copied.

use std::path::Path;

/// The folders and files that are theirs alone, and where they come from.
const LIBRARIES: [(&str, &str); 10] = [
    ("google/api", "https://github.com/googleapis/googleapis"),
    ("google/rpc", "https://github.com/googleapis/googleapis"),
    ("google/type", "https://github.com/googleapis/googleapis"),
    ("google/longrunning", "https://github.com/googleapis/googleapis"),
    ("buf/validate", "https://github.com/bufbuild/protovalidate"),
    ("validate/validate.proto", "https://github.com/bufbuild/protoc-gen-validate"),
    ("protoc-gen-openapiv2", "https://github.com/grpc-ecosystem/grpc-gateway"),
    ("openapiv3/annotations.proto", "https://github.com/google/gnostic"),
    ("openapiv3/OpenAPIv3.proto", "https://github.com/google/gnostic"),
    ("gogoproto", "https://github.com/gogo/protobuf"),
];

/// Whether a file, by its path from the folder that is compiled, belongs to one.
pub(super) fn have(path: &Path) -> bool {
    LIBRARIES.iter().any(|(place, _)| path.starts_with(place))
}

/// Where to get a file of this name.
pub(super) fn home_of(name: &str) -> Option<&'static str> {
    LIBRARIES.iter().find(|(place, _)| Path::new(name).starts_with(place)).map(|(_, home)| *home)
}
