//! The names that code gets in Rust, where other rules hold than in protobuf: case does not tell
//! names apart there, and modules are named as messages are. What would not compile is refused with
//! the line of the .proto file; what is generated beside the messages takes another name.

use std::collections::HashMap;

use anyhow::{Result, bail};
use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use super::{sources::Source, well_known};

/// What is generated for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceNames {
    /// The trait to implement.
    pub(super) handler: String,
    /// What serves an implementation.
    pub(super) server: String,
    /// What calls it.
    pub(super) client: String,
}

/// The names of all services by their full names in protobuf, when all other names are possible.
///
/// # Errors
/// Two names would be one in Rust, or one could not be written; the text has the place.
pub(super) fn of(sources: &[Source]) -> Result<HashMap<String, ServiceNames>> {
    let mut modules: HashMap<Vec<String>, Scope> = HashMap::new();
    for source in sources {
        let path: Vec<String> = source.module().parts().map(str::to_owned).collect();
        for length in 1..=path.len() {
            // Packages whose names begin alike share their modules.
            let within = modules.entry(path[..length - 1].to_vec()).or_default();
            let package = format!("package {}", source.file.package());
            within.0.entry(path[length - 1].clone()).or_insert_with(|| Owner::new(&package, source, &[2]));
        }
    }
    for source in sources.iter().filter(|source| !well_known::is_standard(&source.file)) {
        let path: Vec<String> = source.module().parts().map(str::to_owned).collect();
        let mut walk = Walk { source, modules: &mut modules };
        walk.types(&path, &[], &source.file.message_type, &source.file.enum_type)?;
        for (index, service) in source.file.service.iter().enumerate() {
            methods(source, service, index)?;
        }
    }
    Ok(services(sources, &mut modules))
}

/// A service's own types give way to what the .proto files declare, by an underscore at the end.
fn services(sources: &[Source], modules: &mut HashMap<Vec<String>, Scope>) -> HashMap<String, ServiceNames> {
    let mut names = HashMap::new();
    for source in sources {
        let path: Vec<String> = source.module().parts().map(str::to_owned).collect();
        let scope = modules.entry(path).or_default();
        for (index, service) in source.file.service.iter().enumerate() {
            let mut free = |wanted: String| {
                let mut name = wanted;
                while scope.0.contains_key(&name) {
                    name.push('_');
                }
                let owner = Owner::new(service.name(), source, &[6, number(index)]);
                scope.0.insert(name.clone(), owner);
                name
            };
            let handler = free(type_name(service.name()));
            // `Self_` has its underscore since `Self` alone is a word of Rust.
            let title = type_name(service.name()).trim_end_matches('_').to_owned();
            let (server, client) = (free(format!("{title}Server")), free(format!("{title}Client")));
            let full_name = format!("{}.{}", source.file.package(), service.name());
            names.insert(full_name, ServiceNames { handler, server, client });
        }
    }
    names
}

/// Who has a name.
struct Owner {
    name: String,
    place: String,
    is_foreign: bool,
}

impl Owner {
    fn new(name: &str, source: &Source, path: &[i32]) -> Self {
        Self { name: name.to_owned(), place: source.place(path), is_foreign: source.foreign.is_some() }
    }
}

/// Names that must differ from each other.
#[derive(Default)]
struct Scope(HashMap<String, Owner>);

impl Scope {
    fn take(&mut self, rust: String, name: &str, source: &Source, path: &[i32]) -> Result<()> {
        let new = Owner::new(name, source, path);
        if rust.is_empty() {
            bail!("{}: `{name}` has no letter or digit, so Rust has no name for it: rename it", new.place);
        }
        if let Some(old) = self.0.get(&rust) {
            let fetched = new.is_foreign || old.is_foreign;
            let remedy = if fetched { "remove yours or what was fetched" } else { "rename one of them" };
            bail!(
                "{}: `{name}` and `{}` ({}) are both `{rust}` in Rust: {remedy}",
                new.place,
                old.name,
                old.place
            );
        }
        self.0.insert(rust, new);
        Ok(())
    }
}

/// The types of one file.
struct Walk<'a> {
    source: &'a Source,
    modules: &'a mut HashMap<Vec<String>, Scope>,
}

impl Walk<'_> {
    /// Messages and enums of one scope; `path` leads to it in the descriptor.
    fn types(
        &mut self,
        module: &[String],
        path: &[i32],
        messages: &[DescriptorProto],
        enums: &[EnumDescriptorProto],
    ) -> Result<()> {
        // In a file messages are number 4 and enums 5; within a message 3 and 4.
        let (of_messages, of_enums) = if path.is_empty() { (4, 5) } else { (3, 4) };
        for (index, message) in messages.iter().enumerate() {
            if !is_map_entry(message) {
                self.message(module, &[path, &[of_messages, number(index)]].concat(), message)?;
            }
        }
        for (index, declared) in enums.iter().enumerate() {
            let at = [path, &[of_enums, number(index)]].concat();
            self.take(module, type_name(declared.name()), declared.name(), &at)?;
            self.values(&at, declared)?;
        }
        Ok(())
    }

    fn message(&mut self, module: &[String], path: &[i32], message: &DescriptorProto) -> Result<()> {
        self.take(module, type_name(message.name()), message.name(), path)?;
        let fields = |index: usize| {
            let of = |field: &&FieldDescriptorProto| field.oneof_index == i32::try_from(index).ok();
            message.field.iter().find(of)
        };
        // `optional` makes a oneof that nobody wrote.
        let oneofs: Vec<(usize, &str)> = (message.oneof_decl.iter().enumerate())
            .filter(|(index, _)| fields(*index).is_some_and(|field| !field.proto3_optional()))
            .map(|(index, oneof)| (index, oneof.name()))
            .collect();
        self.fields(path, message, &oneofs)?;
        let nested = message.nested_type.iter().any(|nested| !is_map_entry(nested));
        if !nested && message.enum_type.is_empty() && oneofs.is_empty() {
            return Ok(());
        }
        let inner = module_name(message.name());
        self.take(module, inner.clone(), message.name(), path)?;
        let module = [module, &[inner]].concat();
        self.types(&module, path, &message.nested_type, &message.enum_type)?;
        for (index, name) in oneofs {
            let at = [path, &[8, number(index)]].concat();
            let mut rust = type_name(name);
            let taken = self.modules.get(&module).is_some_and(|scope| scope.0.contains_key(&rust));
            if taken {
                rust.push_str("OneOf");
            }
            self.take(&module, rust, name, &at)?;
        }
        Ok(())
    }

    fn fields(&self, path: &[i32], message: &DescriptorProto, oneofs: &[(usize, &str)]) -> Result<()> {
        let (mut members, mut accessors) = (Scope::default(), Scope::default());
        for (index, field) in message.field.iter().enumerate() {
            let at = [path, &[2, number(index)]].concat();
            let names = Field::of(self.source.file.syntax() == "proto3", message, field);
            members.take(names.member, field.name(), self.source, &at)?;
            for name in names.accessors {
                accessors.take(name, field.name(), self.source, &at)?;
            }
        }
        for (index, name) in oneofs {
            let at = [path, &[8, number(*index)]].concat();
            members.take(name.to_snake_case(), name, self.source, &at)?;
        }
        Ok(())
    }

    fn values(&self, path: &[i32], declared: &EnumDescriptorProto) -> Result<()> {
        let mut scope = Scope::default();
        let mut numbers = Vec::new();
        for (index, value) in declared.value.iter().enumerate() {
            // Another name of a number that has one is left out.
            if numbers.contains(&value.number()) {
                continue;
            }
            numbers.push(value.number());
            let at = [path, &[2, number(index)]].concat();
            scope.take(variant(declared.name(), value.name()), value.name(), self.source, &at)?;
        }
        Ok(())
    }

    fn take(&mut self, module: &[String], rust: String, name: &str, path: &[i32]) -> Result<()> {
        self.modules.entry(module.to_vec()).or_default().take(rust, name, self.source, path)
    }
}

fn methods(source: &Source, service: &ServiceDescriptorProto, index: usize) -> Result<()> {
    let mut scope = Scope::default();
    // Methods of others are told apart where they are written.
    let own = service.method.iter().enumerate().filter(|_| source.foreign.is_none());
    for (method, declared) in own {
        let at = [6, number(index), 2, number(method)];
        scope.take(declared.name().to_snake_case(), declared.name(), source, &at)?;
    }
    if type_name(service.name()).is_empty() {
        let place = source.place(&[6, number(index)]);
        bail!("{place}: `{}` has no letter or digit, so Rust has no name for it: rename it", service.name());
    }
    Ok(())
}

pub(super) fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry)
}

fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

/// As prost names a type.
pub(in crate::scaffold) fn type_name(name: &str) -> String {
    let name = name.to_upper_camel_case();
    match name.chars().next() {
        Some(first) if first.is_ascii_digit() => format!("_{name}"),
        _ if name == "Self" => "Self_".to_owned(),
        _ => name,
    }
}

/// As prost names the module of a message.
fn module_name(name: &str) -> String {
    prost_build::Module::from_protobuf_package_name(name).parts().collect()
}

/// As prost names the variant of an enum: without the enum's name, where a capital letter follows it.
pub(super) fn variant(declared: &str, value: &str) -> String {
    let variant = value.to_upper_camel_case();
    match variant.strip_prefix(&type_name(declared)) {
        Some(rest) if rest.starts_with(char::is_uppercase) => rest.to_owned(),
        _ => variant,
    }
}

/// What prost makes of a field.
pub(super) struct Field {
    pub(super) member: String,
    /// The functions that go with it: of enums, and of scalars that may be absent.
    pub(super) accessors: Vec<String>,
}

impl Field {
    pub(super) fn of(is_proto3: bool, message: &DescriptorProto, field: &FieldDescriptorProto) -> Self {
        let member = field.name().to_snake_case();
        if field.oneof_index.is_some() && !field.proto3_optional() {
            return Self { member, accessors: Vec::new() };
        }
        let is_map_of_enums = message.nested_type.iter().any(|entry| {
            is_map_entry(entry)
                && field.type_name().rsplit('.').next() == Some(entry.name())
                && entry.field.get(1).is_some_and(|value| value.r#type() == Type::Enum)
        });
        if is_map_of_enums {
            let member = member_of_map(&member);
            let accessors = vec![format!("get_{member}"), format!("insert_{member}")];
            return Self { member, accessors };
        }
        let may_be_absent = field.label() == Label::Optional && (!is_proto3 || field.proto3_optional());
        let accessors = match (field.r#type(), field.label()) {
            (Type::Message | Type::Group, _) => Vec::new(),
            (Type::Enum, Label::Repeated) => vec![member.clone(), format!("push_{member}")],
            (Type::Enum, _) => vec![member.clone(), format!("set_{member}")],
            _ if may_be_absent => vec![member.clone()],
            _ => Vec::new(),
        };
        Self { member, accessors }
    }
}

pub(super) fn is_keyword(name: &str) -> bool {
    module_name(name).starts_with("r#")
}

/// The name of a field that is a map of enums. prost makes functions of it, and of `r#type` it cannot.
pub(super) fn member_of_map(name: &str) -> String {
    if is_keyword(name) { format!("{name}_") } else { name.to_owned() }
}
