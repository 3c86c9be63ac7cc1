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

/// Writes services for prost-build.
pub(super) struct Generator {
    pub(super) paths: Paths,
    /// What to call the parts of each service, by its full name.
    pub(super) names: Rc<HashMap<String, ServiceNames>>,
    /// The services that are called and never served, by their full names.
    pub(super) foreign: HashSet<String>,
}

impl ServiceGenerator for Generator {
    fn generate(&mut self, mut service: Service, buffer: &mut String) {
        let full_name = format!("{}.{}", service.package, service.proto_name);
        for method in &mut service.methods {
            // The client's own constructor has that name.
            if method.name == "new" {
                method.name.push('_');
            }
        }
        let Some(names) = self.names.get(&full_name) else { return };
        let writer = Writer { paths: self.paths, service: &service, names };
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
}

/// `#[deprecated]`, where the .proto file says so.
fn deprecation(deprecated: bool) -> &'static str {
    if deprecated { "#[deprecated]\n" } else { "" }
}

/// The four kinds of methods, by which sides stream.
enum Kind {
    Unary,
    ServerStream,
    ClientStream,
    Stream,
}

fn kind(method: &Method) -> Kind {
    match (method.client_streaming, method.server_streaming) {
        (false, false) => Kind::Unary,
        (false, true) => Kind::ServerStream,
        (true, false) => Kind::ClientStream,
        (true, true) => Kind::Stream,
    }
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
            let (input, output) = (self.message(&method.input_type), self.message(&method.output_type));
            let (arguments, result) = match kind(method) {
                Kind::Unary => (format!("request: {input}"), output),
                Kind::ServerStream => {
                    (format!("request: {input}, replies: {sdk}::Sender<{output}>"), "()".to_owned())
                }
                Kind::ClientStream => (format!("requests: {sdk}::Receiver<{input}>"), output),
                Kind::Stream => (
                    format!("requests: {sdk}::Receiver<{input}>, replies: {sdk}::Sender<{output}>"),
                    "()".to_owned(),
                ),
            };
            write!(
                body,
                "{}fn {}(&self, cx: {sdk}::Context, {arguments}) \
                 -> impl ::core::future::Future<Output = {sdk}::Result<{result}>> + ::core::marker::Send;",
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
            let (adapter, arguments) = match kind(method) {
                Kind::Unary => ("unary", "cx, request"),
                Kind::ServerStream => ("server_stream", "cx, request, replies"),
                Kind::ClientStream => ("client_stream", "cx, requests"),
                Kind::Stream => ("stream", "cx, requests, replies"),
            };
            // By the trait's name: `handler.clone(…)` would copy the pointer.
            format!(
                "\"{}\" => call.{adapter}(move |{arguments}| async move {{ <T_ as {handler}>::{}(&handler, {arguments}).await }}),",
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
            let (input, output) = (self.message(&method.input_type), self.message(&method.output_type));
            let endpoint = format!("{}.{}", self.service.proto_name, method.proto_name);
            let rust = &method.name;
            let errors = "///\n/// # Errors\n/// What the service answers, 408 after the timeout, 503 when it cannot be reached.\n";
            methods.push_str(match kind(method) {
                Kind::ClientStream => "",
                Kind::Unary | Kind::ServerStream | Kind::Stream => errors,
            });
            methods.push_str(deprecation(method.options.deprecated()));
            let code = match kind(method) {
                Kind::Unary => format!(
                    "pub async fn {rust}(&self, request: {input}) -> {sdk}::Result<{output}>
                     {{ self.0.unary(\"{endpoint}\", &request).await }}"
                ),
                Kind::ServerStream => format!(
                    "pub async fn {rust}(&self, request: {input}) -> {sdk}::Result<{sdk}::Receiver<{output}>>
                     {{ self.0.server_stream(\"{endpoint}\", &request).await }}"
                ),
                Kind::ClientStream => format!(
                    "pub fn {rust}(&self) -> ({sdk}::Sender<{input}>,
                         impl ::core::future::Future<Output = {sdk}::Result<{output}>> + ::core::marker::Send + use<>)
                     {{ self.0.client_stream(\"{endpoint}\") }}"
                ),
                Kind::Stream => format!(
                    "pub async fn {rust}(&self) -> {sdk}::Result<({sdk}::Sender<{input}>, {sdk}::Receiver<{output}>)>
                     {{ self.0.stream(\"{endpoint}\").await }}"
                ),
            };
            methods.push_str(&code);
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
                 {methods}
             }}
             impl ::core::convert::From<{sdk}::Client> for {client} {{
                 fn from(client: {sdk}::Client) -> Self {{ Self(client) }}
             }}"
        )
        .expect("writing to a string cannot fail");
    }
}
