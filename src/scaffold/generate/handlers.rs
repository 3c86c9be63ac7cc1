//! The code of one `service`: trait, server, client.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    rc::Rc,
};

use prost_build::{Comments, Method, Service, ServiceGenerator};

use super::names::ServiceNames;

/// Where generated code finds what it names.
#[derive(Clone, Copy)]
pub(super) struct Paths {
    /// The crate of the service kernel: `::micro_sdk` or `crate`.
    pub(super) sdk: &'static str,
    /// The crate that holds the messages, if they do not stand beside the handlers.
    pub(super) messages: Option<&'static str>,
}

/// What a client has beside the methods of its service, which give way to it by an underscore.
const CLIENT_METHODS: [&str; 4] = ["new", "timeout", "header", "with"];

/// Writes services for prost-build.
pub(super) struct Generator {
    pub(super) paths: Paths,
    /// What to call the parts of each service, by its full name.
    pub(super) names: Rc<HashMap<String, ServiceNames>>,
    /// The services that are called and never served, by their full names.
    pub(super) foreign: HashSet<String>,
    /// A handler may leave methods out, which then answer 501.
    pub(super) partial: bool,
}

impl ServiceGenerator for Generator {
    fn generate(&mut self, mut service: Service, buffer: &mut String) {
        let full_name = format!("{}.{}", service.package, service.proto_name);
        let mut taken: HashSet<String> = CLIENT_METHODS.map(str::to_owned).into();
        for method in &mut service.methods {
            if method.name.is_empty() {
                method.name.push_str("unnamed");
            }
            while !taken.insert(method.name.clone()) {
                method.name.push('_');
            }
        }
        let Some(names) = self.names.get(&full_name) else { return };
        let writer = Writer { paths: self.paths, service: &service, names, partial: self.partial };
        if !self.foreign.contains(&full_name) {
            writer.handler_trait(buffer);
            writer.server(buffer);
        }
        writer.client(buffer);
    }
}

/// All paths in what it writes are absolute: a message may be called `Option`, `Send` or `Result`.
struct Writer<'a> {
    paths: Paths,
    service: &'a Service,
    names: &'a ServiceNames,
    partial: bool,
}

/// `#[deprecated]`, where the .proto file says so.
fn deprecation(deprecated: bool) -> &'static str {
    if deprecated { "#[deprecated]\n" } else { "" }
}

/// What differs between methods by the sides that stream.
struct Form {
    /// How the server takes the call apart.
    adapter: &'static str,
    /// What the handler is given beside the context: the names, and with their types.
    arguments: &'static str,
    parameters: String,
    /// What the handler returns.
    result: String,
    /// The client's function, from its name on.
    client: String,
    /// Whether that function waits, and may fail.
    waits: bool,
}

fn documentation(comments: &Comments, otherwise: &str, buffer: &mut String) {
    let before = buffer.len();
    comments.append_with_indent(0, buffer);
    if buffer.len() == before {
        writeln!(buffer, "/// {otherwise}").expect("writing to a string cannot fail");
    }
}

impl Writer<'_> {
    fn message(&self, rust: &str) -> String {
        match self.paths.messages {
            Some(path) => format!("{path}::{}::{rust}", self.service.package),
            None => rust.to_owned(),
        }
    }

    fn form(&self, method: &Method) -> Form {
        let sdk = self.paths.sdk;
        let (input, output) = (self.message(&method.input_type), self.message(&method.output_type));
        let endpoint = format!("{}.{}", self.service.proto_name, method.proto_name);
        match (method.client_streaming, method.server_streaming) {
            (false, false) => Form {
                adapter: "unary",
                arguments: "request",
                parameters: format!("request: {input}"),
                client: format!(
                    "(&self, request: {input}) -> {sdk}::Result<{output}>
                     {{ self.0.unary(\"{endpoint}\", &request).await }}"
                ),
                result: output,
                waits: true,
            },
            (false, true) => Form {
                adapter: "server_stream",
                arguments: "request, replies",
                parameters: format!("request: {input}, replies: {sdk}::Sender<{output}>"),
                client: format!(
                    "(&self, request: {input}) -> {sdk}::Result<{sdk}::Receiver<{output}>>
                     {{ self.0.server_stream(\"{endpoint}\", &request).await }}"
                ),
                result: "()".to_owned(),
                waits: true,
            },
            (true, false) => Form {
                adapter: "client_stream",
                arguments: "requests",
                parameters: format!("requests: {sdk}::Receiver<{input}>"),
                client: format!(
                    "(&self) -> {sdk}::Upload<{input}, {output}>
                     {{ self.0.client_stream(\"{endpoint}\") }}"
                ),
                result: output,
                waits: false,
            },
            (true, true) => Form {
                adapter: "stream",
                arguments: "requests, replies",
                parameters: format!("requests: {sdk}::Receiver<{input}>, replies: {sdk}::Sender<{output}>"),
                client: format!(
                    "(&self) -> {sdk}::Result<({sdk}::Sender<{input}>, {sdk}::Receiver<{output}>)>
                     {{ self.0.stream(\"{endpoint}\").await }}"
                ),
                result: "()".to_owned(),
                waits: true,
            },
        }
    }

    /// The parts of the package's name, each of them a module.
    fn depth(&self) -> usize {
        self.service.package.split('.').filter(|part| !part.is_empty()).count()
    }

    fn handler_trait(&self, buffer: &mut String) {
        let (sdk, service) = (self.paths.sdk, self.service);
        documentation(&service.comments, &format!("The methods of `{}`.", service.proto_name), buffer);
        let mut body = String::new();
        for method in &service.methods {
            documentation(&method.comments, &format!("Answers `{}`.", method.proto_name), &mut body);
            let Form { parameters, arguments, result, .. } = self.form(method);
            let absent = format!(
                "{{ ::core::mem::drop((cx, {arguments})); async {{ ::core::result::Result::Err({sdk}::Error::not_implemented(\
                 \"{}.{} is not implemented\")) }} }}",
                service.proto_name, method.proto_name
            );
            let body_or_end = if self.partial { absent.as_str() } else { ";" };
            write!(
                body,
                "{}fn {}(&self, cx: {sdk}::Context, {parameters}) \
                 -> impl ::core::future::Future<Output = {sdk}::Result<{result}>> + ::core::marker::Send {body_or_end}",
                deprecation(method.options.deprecated()),
                method.name
            )
            .expect("writing to a string cannot fail");
        }
        write!(
            buffer,
            "{}pub trait {}: ::core::marker::Send + ::core::marker::Sync + 'static {{ {body} }}",
            deprecation(service.options.deprecated()),
            self.names.handler
        )
        .expect("writing to a string cannot fail");
    }

    fn server(&self, buffer: &mut String) {
        let (sdk, ServiceNames { handler, server, .. }) = (self.paths.sdk, self.names);
        let arms: String = self.service.methods.iter().map(|method| {
            let Form { adapter, arguments, .. } = self.form(method);
            // By the trait's name: `handler.clone(…)` would copy the pointer.
            format!(
                "\"{}\" => call.{adapter}(move |cx, {arguments}| async move {{ <T_ as {handler}>::{}(&handler, cx, {arguments}).await }}),",
                method.proto_name, method.name
            )
        }).collect();
        let answer = if arms.is_empty() {
            "let _ = (method, call); ::core::option::Option::None".to_owned()
        } else {
            format!(
                "let handler = ::std::sync::Arc::clone(&self.0);
                 ::core::option::Option::Some(match method {{ {arms} _ => return ::core::option::Option::None }})"
            )
        };
        let descriptors = match self.paths.messages {
            Some(path) => format!("{path}::DESCRIPTORS"),
            None => format!("{}DESCRIPTORS", "super::".repeat(self.depth())),
        };
        write!(
            buffer,
            "/// Serves an implementation of [`{handler}`].
             #[derive(Debug)]
             pub struct {server}<T_>(::std::sync::Arc<T_>);
             impl<T_: {handler}> {server}<T_> {{
                 /// Serves this implementation.
                 pub fn new(handler: T_) -> Self {{ Self(::std::sync::Arc::new(handler)) }}
             }}
             impl<T_: {handler}> {sdk}::handler::Handler for {server}<T_> {{
                 fn name(&self) -> &'static str {{ \"{proto_name}\" }}
                 fn descriptor(&self) -> &'static [u8] {{ {descriptors} }}
                 fn handle(&self, method: &str, call: {sdk}::handler::Call) -> ::core::option::Option<{sdk}::handler::Reply> {{
                     {answer}
                 }}
             }}",
            proto_name = self.service.proto_name,
        )
        .expect("writing to a string cannot fail");
    }

    fn client(&self, buffer: &mut String) {
        let (sdk, client) = (self.paths.sdk, &self.names.client);
        let proto_name = &self.service.proto_name;
        let mut methods = String::new();
        for method in &self.service.methods {
            documentation(&method.comments, &format!("Calls `{}`.", method.proto_name), &mut methods);
            let Form { client, waits, .. } = self.form(method);
            let errors = "///\n/// # Errors\n/// What the service answers, 408 after the timeout, 503 when it cannot be reached.\n";
            let (errors, asynchronous) = if waits { (errors, "async ") } else { ("", "") };
            let deprecation = deprecation(method.options.deprecated());
            let name = &method.name;
            write!(methods, "{errors}{deprecation}pub {asynchronous}fn {name}{client}")
                .expect("writing to a string cannot fail");
        }
        write!(
            buffer,
            "/// Calls a service that has the handler `{proto_name}`.
             #[derive(Clone, Debug)]
             pub struct {client}({sdk}::Client);
             impl {client} {{
                 /// Calls through this client.
                 #[must_use]
                 pub fn new(client: {sdk}::Client) -> Self {{ Self(client) }}
                 /// The same client, of which each call may take so long: `client.timeout(limit).method(…)`
                 /// limits one call.
                 #[must_use]
                 pub fn timeout(&self, limit: ::core::time::Duration) -> Self {{
                     self.with(|client| client.with_timeout(limit))
                 }}
                 /// The same client, which adds a header to each call.
                 #[must_use]
                 pub fn header(&self, name: &str, value: &str) -> Self {{
                     self.with(|client| client.with_header(name, value))
                 }}
                 /// The same client with other options of [`{sdk}::Client`].
                 #[must_use]
                 pub fn with(&self, change: impl ::core::ops::FnOnce({sdk}::Client) -> {sdk}::Client) -> Self {{
                     Self(change(::core::clone::Clone::clone(&self.0)))
                 }}
                 {methods}
             }}
             impl ::core::convert::From<{sdk}::Client> for {client} {{
                 fn from(client: {sdk}::Client) -> Self {{ Self(client) }}
             }}"
        )
        .expect("writing to a string cannot fail");
    }
}
