//! The code of one `service`: trait, server, client.

use std::fmt::Write as _;

use prost_build::{Comments, Method, Service, ServiceGenerator};

/// Where generated code finds what it names.
#[derive(Clone, Copy)]
pub(super) struct Paths {
    /// The crate of the service kernel: `::micro_sdk` or `crate`.
    pub(super) sdk: &'static str,
    /// The crate that holds the messages, if they do not stand beside the handlers.
    pub(super) messages: Option<&'static str>,
}

/// Writes services for prost-build.
pub(super) struct Generator(pub(super) Paths);

impl ServiceGenerator for Generator {
    fn generate(&mut self, service: Service, buffer: &mut String) {
        let writer = Writer { paths: self.0, service: &service };
        writer.handler_trait(buffer);
        writer.server(buffer);
        writer.client(buffer);
    }
}

struct Writer<'a> {
    paths: Paths,
    service: &'a Service,
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
                "fn {}(&self, cx: {sdk}::Context, {arguments}) \
                 -> impl ::std::future::Future<Output = {sdk}::Result<{result}>> + Send;",
                method.name
            )
            .expect("writing to a string cannot fail");
        }
        write!(buffer, "pub trait {}: Send + Sync + 'static {{ {body} }}", service.name)
            .expect("writing to a string cannot fail");
    }

    fn server(&self, buffer: &mut String) {
        let (sdk, name) = (self.paths.sdk, &self.service.name);
        let arms: String = self.service.methods.iter().map(|method| {
            let (adapter, arguments) = match kind(method) {
                Kind::Unary => ("unary", "cx, request"),
                Kind::ServerStream => ("server_stream", "cx, request, replies"),
                Kind::ClientStream => ("client_stream", "cx, requests"),
                Kind::Stream => ("stream", "cx, requests, replies"),
            };
            format!(
                "\"{}\" => call.{adapter}(move |{arguments}| async move {{ handler.{}({arguments}).await }}),",
                method.proto_name, method.name
            )
        }).collect();
        let descriptors = match self.paths.messages {
            Some(path) => format!("{path}::DESCRIPTORS"),
            None => format!("{}DESCRIPTORS", "super::".repeat(self.service.package.split('.').count())),
        };
        write!(
            buffer,
            "/// Serves an implementation of [`{name}`].
             #[derive(Debug)]
             pub struct {name}Server<T>(::std::sync::Arc<T>);
             impl<T: {name}> {name}Server<T> {{
                 /// Serves this implementation.
                 pub fn new(handler: T) -> Self {{ Self(::std::sync::Arc::new(handler)) }}
             }}
             impl<T: {name}> {sdk}::handler::Handler for {name}Server<T> {{
                 fn name(&self) -> &'static str {{ \"{proto_name}\" }}
                 fn descriptor(&self) -> &'static [u8] {{ {descriptors} }}
                 fn handle(&self, method: &str, call: {sdk}::handler::Call) -> Option<{sdk}::handler::Reply> {{
                     let handler = self.0.clone();
                     Some(match method {{ {arms} _ => return None }})
                 }}
             }}",
            proto_name = self.service.proto_name,
        )
        .expect("writing to a string cannot fail");
    }

    fn client(&self, buffer: &mut String) {
        let (sdk, name) = (self.paths.sdk, &self.service.name);
        let mut methods = String::new();
        for method in &self.service.methods {
            documentation(&method.comments, &format!("Calls `{}`.", method.proto_name), &mut methods);
            let (input, output) = (self.message(&method.input_type), self.message(&method.output_type));
            let endpoint = format!("{}.{}", self.service.proto_name, method.proto_name);
            let rust = &method.name;
            let errors = "///\n/// # Errors\n/// What the service answers, 408 after the timeout, 503 when it cannot be reached.\n";
            let code = match kind(method) {
                Kind::Unary => format!(
                    "{errors}pub async fn {rust}(&self, request: {input}) -> {sdk}::Result<{output}>
                     {{ self.0.unary(\"{endpoint}\", &request).await }}"
                ),
                Kind::ServerStream => format!(
                    "{errors}pub async fn {rust}(&self, request: {input}) -> {sdk}::Result<{sdk}::Receiver<{output}>>
                     {{ self.0.server_stream(\"{endpoint}\", &request).await }}"
                ),
                Kind::ClientStream => format!(
                    "pub fn {rust}(&self) -> ({sdk}::Sender<{input}>,
                         impl ::std::future::Future<Output = {sdk}::Result<{output}>> + Send + use<>)
                     {{ self.0.client_stream(\"{endpoint}\") }}"
                ),
                Kind::Stream => format!(
                    "{errors}pub async fn {rust}(&self) -> {sdk}::Result<({sdk}::Sender<{input}>, {sdk}::Receiver<{output}>)>
                     {{ self.0.stream(\"{endpoint}\").await }}"
                ),
            };
            methods.push_str(&code);
        }
        write!(
            buffer,
            "/// Calls a service that has [`{name}`].
             #[derive(Clone, Debug)]
             pub struct {name}Client({sdk}::Client);
             impl {name}Client {{
                 /// Calls through this client.
                 #[must_use]
                 pub fn new(client: {sdk}::Client) -> Self {{ Self(client) }}
                 {methods}
             }}
             impl From<{sdk}::Client> for {name}Client {{
                 fn from(client: {sdk}::Client) -> Self {{ Self(client) }}
             }}"
        )
        .expect("writing to a string cannot fail");
    }
}
