//! The doors of a server, behind one way to ask, so that the same call can be made at each.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use micro_sdk::proto::DESCRIPTORS;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use serde_json::{Value, json};

use crate::{
    raw::{Headers, Raw, frame, soon},
    support::Home,
};

/// A text that only its owners may ever see. Its base64 has no padding.
pub(super) const CANARY: &str = "canary-7f3a91c2";

/// A door, and what is spoken at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Api,
    Proxy,
    ProxyJson,
    Network,
    NetworkJson,
    Socket,
}

impl Door {
    /// Those that everybody reaches.
    pub(super) const TCP: [Self; 5] =
        [Self::Api, Self::Proxy, Self::ProxyJson, Self::Network, Self::NetworkJson];
    pub(super) const ALL: [Self; 6] =
        [Self::Api, Self::Proxy, Self::ProxyJson, Self::Network, Self::NetworkJson, Self::Socket];
}

/// Connections to all of them.
pub(super) struct Doors {
    api: String,
    http: reqwest::Client,
    proxy: Raw,
    network: Raw,
    socket: Raw,
    pub(super) pool: DescriptorPool,
}

/// What was answered: 200 or the code of the error, and all that came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: i64,
    pub(super) text: String,
}

impl Answer {
    /// Whether the canary is in it, in clear or in base64.
    pub(super) fn shows(&self, canary: &str) -> bool {
        self.text.contains(canary) || (0..3).any(|shift| self.text.contains(&in_base64(canary, shift)))
    }
}

/// The part of a base64 text that stands for this, so many bytes after a multiple of three.
fn in_base64(text: &str, shift: usize) -> String {
    let whole = STANDARD.encode([&vec![0; shift], text.as_bytes()].concat());
    whole[(shift * 8).div_ceil(6)..(shift + text.len()) * 8 / 6].to_owned()
}

impl Doors {
    pub(super) async fn open(home: &Home) -> Self {
        let state = home.state();
        Self {
            proxy: Raw::connect(&state.proxy).await,
            network: Raw::connect(&state.network).await,
            socket: Raw::local(&state.socket).await,
            api: state.api,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            pool: DescriptorPool::decode(DESCRIPTORS).unwrap(),
        }
    }

    /// The method `package.Handler.Method`.
    pub(super) fn method(&self, name: &str) -> MethodDescriptor {
        let (service, method) = name.rsplit_once('.').unwrap();
        let service = self.pool.get_service_by_name(service).unwrap_or_else(|| panic!("no {service}"));
        service.methods().find(|known| known.name() == method).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Calls a method of a building block with a request in JSON.
    pub(super) async fn ask(&self, door: Door, method: &str, headers: Headers<'_>, request: &str) -> Answer {
        let descriptor = self.method(method);
        // A watch goes on for ever: its first message tells that it was allowed.
        let endless = matches!(descriptor.name(), "Watch" | "Subscribe" | "Consume");
        let service = descriptor.parent_service();
        let path = match door {
            Door::Api => format!("/{}/{}/{}", service.package_name(), service.name(), descriptor.name()),
            _ => format!("/{}/{}", service.full_name(), descriptor.name()),
        };
        let message = match door {
            Door::Proxy | Door::Network => {
                let mut json = serde_json::Deserializer::from_str(request);
                let message = DynamicMessage::deserialize(descriptor.input(), &mut json);
                message.unwrap_or_else(|e| panic!("{method} {request}: {e}")).encode_to_vec()
            }
            _ => request.as_bytes().to_vec(),
        };
        let asked = self.send(door, &path, headers, &message, endless);
        soon(&format!("{method} at {door:?}"), asked).await
    }

    /// Sends a message, in the form that the door has, to a path.
    pub(super) async fn send(
        &self,
        door: Door,
        path: &str,
        headers: Headers<'_>,
        message: &[u8],
        endless: bool,
    ) -> Answer {
        let (raw, form) = match door {
            Door::Api => return self.http(path, headers, message, endless).await,
            Door::Proxy => (&self.proxy, "application/grpc"),
            Door::ProxyJson => (&self.proxy, "application/grpc+json"),
            Door::Network => (&self.network, "application/grpc+proto"),
            Door::NetworkJson => (&self.network, "application/grpc+json"),
            Door::Socket => (&self.socket, "application/grpc+json"),
        };
        let mut call = raw.whole(path, form, headers, frame(message)).await;
        let mut text = String::new();
        while let Some(message) = call.message().await {
            text += &String::from_utf8_lossy(&message);
            if endless {
                return Answer { code: 200, text };
            }
        }
        let reply = call.end().await;
        if reply.status == 0 {
            return Answer { code: 200, text };
        }
        let code = reply.error["code"].as_i64().unwrap_or_default();
        Answer { code, text: text + &reply.error.to_string() + &reply.message }
    }

    async fn http(&self, path: &str, headers: Headers<'_>, message: &[u8], endless: bool) -> Answer {
        let mut request = self.http.post(format!("http://{}{path}", self.api));
        request = request.header("content-type", "application/json").body(message.to_vec());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send().await.unwrap();
        let code = i64::from(response.status().as_u16());
        let head = format!("{:?}", response.headers());
        let mut text = String::new();
        while let Some(chunk) = response.chunk().await.unwrap() {
            text += &String::from_utf8_lossy(&chunk);
            if endless {
                break;
            }
        }
        // What goes wrong after the first message of a stream is its last line.
        let last: Value =
            text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        let late = last["code"].as_i64().filter(|_| last["status"].is_string() && last["detail"].is_string());
        Answer { code: late.unwrap_or(code), text: head + &text }
    }

    /// What the owner of the home gets for a call, which has to be good.
    pub(super) async fn own(&self, method: &str, request: &Value) -> Answer {
        let answer = self.ask(Door::Socket, method, &[], &request.to_string()).await;
        assert_eq!(answer.code, 200, "{method} {request}: {answer:?}");
        answer
    }

    /// Makes an account, and returns its `authorization`.
    pub(super) async fn account(&self, namespace: &str, id: &str, kind: &str, scopes: &[&str]) -> String {
        let options = json!({ "namespace": namespace });
        let request = json!({"id": id, "type": kind, "scopes": scopes, "options": options});
        let made = self.own("auth.Auth.Generate", &request).await;
        let made: Value = serde_json::from_str(&made.text).unwrap();
        self.log_in(namespace, id, made["account"]["secret"].as_str().unwrap()).await.0
    }

    /// The `authorization` of an account, and its refresh token.
    pub(super) async fn log_in(&self, namespace: &str, id: &str, secret: &str) -> (String, String) {
        let request = json!({"id": id, "secret": secret, "options": {"namespace": namespace}});
        let login = self.own("auth.Auth.Token", &request).await;
        let login: Value = serde_json::from_str(&login.text).unwrap();
        let part = |name: &str| login["token"][name].as_str().unwrap().to_owned();
        (format!("Bearer {}", part("access_token")), part("refresh_token"))
    }
}

#[test]
fn the_canary_is_found_wherever_it_stands_in_base64() {
    for before in ["", "a", "ab", "abc", "abcd"] {
        let text = STANDARD.encode(format!("{before}{CANARY}{before}"));
        assert!(Answer { code: 200, text }.shows(CANARY), "{before}");
    }
    assert!(!Answer { code: 200, text: STANDARD.encode("canary-7f3a91c3") }.shows(CANARY));
}
