//! From the path of an HTTP request to a service and an endpoint (reference: Micro v4's gateway).

use std::borrow::Cow;

use micro_sdk::Result;

use crate::{
    names::is_version,
    server::target::{Target, decoded},
};

/// The endpoint a path means; none for the root. A `/` that is percent-encoded separates nothing.
///
/// # Errors
/// 400 for a path that names no endpoint there can be.
pub(super) fn target(path: &str) -> Result<Option<Target>> {
    let parts: Vec<Cow<'_, str>> =
        path.split('/').filter(|part| !part.is_empty()).map(decoded).collect::<Result<_>>()?;
    let (service, handler, method) = match &parts[..] {
        [] => return Ok(None),
        [service] => (service.to_string(), service, "Call"),
        [service, method] => (service.to_string(), service, &**method),
        [version, service, method] if is_version(version) => {
            (format!("{version}.{service}"), service, &**method)
        }
        [service @ .., handler, method] => (service.join("."), handler, &**method),
    };
    Target::new(service, &camel(handler), &camel(method)).map(Some)
}

/// What a path means when its first part is the version of the API: `/v1/helloworld/Call` as
/// `/helloworld/Call`. None for a path that does not begin with a version.
pub(super) fn without_version(path: &str) -> Option<Target> {
    let (version, rest) = path.trim_start_matches('/').split_once('/')?;
    if is_version(version) { target(rest).ok().flatten() } else { None }
}

/// `foo-bar` as `FooBar`; what is upper case stays so.
fn camel(part: &str) -> String {
    let (mut camel, mut begins) = (String::with_capacity(part.len()), true);
    for letter in part.chars() {
        match letter {
            '-' => begins = true,
            _ if begins => {
                camel.extend(letter.to_uppercase());
                begins = false;
            }
            _ => camel.push(letter),
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_what_they_meant_in_the_reference() {
        for (path, service, endpoint) in [
            ("/helloworld", "helloworld", "Helloworld.Call"),
            ("/helloworld/", "helloworld", "Helloworld.Call"),
            ("/helloworld/call", "helloworld", "Helloworld.Call"),
            ("/helloworld/Call", "helloworld", "Helloworld.Call"),
            ("/foo/bar", "foo", "Foo.Bar"),
            ("/foo/foo/bar", "foo", "Foo.Bar"),
            ("/foo/bar/baz", "foo", "Bar.Baz"),
            ("/foo/bar/baz-xyz", "foo", "Bar.BazXyz"),
            ("/foo/fooBar/bazCat", "foo", "FooBar.BazCat"),
            ("/foo-bar/call", "foo-bar", "FooBar.Call"),
            ("/foo/bar/baz/cat", "foo.bar", "Baz.Cat"),
            ("/foo/bar/baz/cat/car", "foo.bar.baz", "Cat.Car"),
            ("/v1/foo/bar", "v1.foo", "Foo.Bar"),
            ("/v1/foo/bar/baz", "v1.foo", "Bar.Baz"),
            ("/v1/foo/bar/baz/cat", "v1.foo.bar", "Baz.Cat"),
            ("/v1/foo", "v1", "V1.Foo"),
            ("//echo//call", "echo", "Echo.Call"),
        ] {
            let expected = Target { service: service.into(), endpoint: endpoint.into() };
            assert_eq!(target(path).unwrap(), Some(expected), "{path}");
        }
        assert_eq!(target("/").unwrap(), None);
    }

    #[test]
    fn parts_are_decoded_after_they_are_separated() {
        for (path, service, endpoint) in [
            ("/foo/%62ar", "foo", "Foo.Bar"),
            ("/f%6Fo/bar", "foo", "Foo.Bar"),
            ("/foo/bar/baz%2Dxyz", "foo", "Bar.BazXyz"),
            ("/a%2Fb/bar/baz", "a/b", "Bar.Baz"),
            ("/k%C3%A4se/call", "käse", "Käse.Call"),
        ] {
            let expected = Target { service: service.into(), endpoint: endpoint.into() };
            assert_eq!(target(path).unwrap(), Some(expected), "{path}");
        }
        for path in
            ["/foo/bar%20", "/foo/bar%2e", "/foo/%2562ar", "/foo/b%2Far", "/foo/%ff", "/foo/%00", "/%20/a/b"]
        {
            assert_eq!(target(path).unwrap_err().code, 400, "{path}");
        }
    }

    #[test]
    fn a_version_may_be_that_of_the_api() {
        for (path, service, endpoint) in [
            ("/v1/helloworld/Call", "helloworld", "Helloworld.Call"),
            ("/v1/helloworld", "helloworld", "Helloworld.Call"),
            ("//v1//foo-bar//baz/cat", "foo-bar", "Baz.Cat"),
            ("/v2/foo/bar/baz/cat", "foo.bar", "Baz.Cat"),
        ] {
            let expected = Target { service: service.into(), endpoint: endpoint.into() };
            assert_eq!(without_version(path), Some(expected), "{path}");
        }
        for path in ["/", "/v1", "/v1/", "/helloworld/Call", "/v/a/b", "/version1/a/b"] {
            assert_eq!(without_version(path), None, "{path}");
        }
    }
}
