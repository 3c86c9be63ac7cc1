//! The platform's own contract: the messages of `proto/micro` go to the crate `micro-proto`, the
//! handlers and clients of the building blocks to `micro-sdk`.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
    path::Path,
    rc::Rc,
};

use prost_build::{Service, ServiceGenerator};

use super::{
    Files,
    code::{self, Style},
    format_rust,
    handlers::{Generator, Paths},
    names,
    sources::{self, Sources},
};

/// The generated files of this repository, computed from `proto/micro/*.proto`.
///
/// # Errors
/// A .proto file does not compile.
pub fn contract(repository: &Path) -> anyhow::Result<Files> {
    let compiled = sources::read(&repository.join("proto/micro"), "proto/micro", &[], &[], &|_| ())?;
    let mut files: Files = Vec::new();
    let style = Style { prost: "::prost", types: "::prost_types", named: false };
    for (module, code) in code::of(&compiled.files, style, None)? {
        let package = module.parts().collect::<Vec<_>>().join(".");
        // The error message stands outside every package.
        let name = if package.is_empty() { "error".to_owned() } else { package };
        files.push((format!("proto/src/{name}.rs").into(), code));
    }
    for (package, code) in services(&compiled)? {
        let code = format!("//! The handlers and clients of `{package}`.\n{code}");
        files.push((format!("sdk/src/blocks/{package}.rs").into(), format_rust(&code)?));
    }
    files.push(("proto/src/descriptors.bin".into(), compiled.descriptors));
    Ok(files)
}

/// The code of the services alone, by package.
fn services(compiled: &Sources) -> anyhow::Result<BTreeMap<String, String>> {
    let collected = Rc::default();
    let mut config = prost_build::Config::new();
    config.service_generator(Box::new(Collector {
        generator: Generator {
            paths: Paths { sdk: "crate", messages: Some("::micro_proto") },
            names: names::of(&compiled.files)?.into(),
            foreign: HashSet::new(),
            partial: false,
        },
        collected: Rc::clone(&collected),
    }));
    let requests = compiled.files.iter().map(|source| (source.module(), source.file.clone()));
    config.generate(requests.collect())?;
    Ok(collected.take())
}

/// Keeps what is generated apart from the messages.
struct Collector {
    generator: Generator,
    collected: Rc<RefCell<BTreeMap<String, String>>>,
}

impl ServiceGenerator for Collector {
    fn generate(&mut self, service: Service, _: &mut String) {
        let mut collected = self.collected.borrow_mut();
        let package = collected.entry(service.package.clone()).or_default();
        self.generator.generate(service, package);
    }
}
