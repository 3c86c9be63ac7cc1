//! The platform's own contract: the messages of `proto/micro` go to the crate `micro-proto`, the
//! handlers and clients of the building blocks to `micro-sdk`.

use std::{cell::RefCell, collections::BTreeMap, path::Path, rc::Rc};

use prost_build::{Module, Service, ServiceGenerator};

use super::{
    Compiled, Files, compile, format_rust,
    handlers::{Generator, Paths},
};

/// The generated files of this repository, computed from `proto/micro/*.proto`.
///
/// # Errors
/// A .proto file does not compile.
pub fn contract(repository: &Path) -> anyhow::Result<Files> {
    let compiled = compile(&repository.join("proto/micro"))?;
    let mut files: Files = Vec::new();
    for (module, code) in compiled.rust("::prost", None)? {
        let package = module.parts().collect::<Vec<_>>().join(".");
        // The error message stands outside every package.
        let name = if package.is_empty() { "error".to_owned() } else { package };
        files.push((format!("proto/src/{name}.rs").into(), code));
    }
    for (package, code) in compiled.services(Paths { sdk: "crate", messages: Some("::micro_proto") })? {
        let code = format!("//! The handlers and clients of `{package}`.\n{code}");
        files.push((format!("sdk/src/blocks/{package}.rs").into(), format_rust(&code)?));
    }
    files.push(("proto/src/descriptors.bin".into(), compiled.descriptors));
    Ok(files)
}

impl Compiled {
    /// The code of the services alone, by package.
    fn services(&self, paths: Paths) -> anyhow::Result<BTreeMap<String, String>> {
        let collected = Rc::default();
        let mut config = prost_build::Config::new();
        config.service_generator(Box::new(Collector {
            generator: Generator(paths),
            collected: Rc::clone(&collected),
        }));
        let requests =
            self.set.file.iter().map(|f| (Module::from_protobuf_package_name(f.package()), f.clone()));
        config.generate(requests.collect())?;
        Ok(collected.take())
    }
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
