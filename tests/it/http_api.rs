//! The HTTP API as browsers, curl and scripts use it, and misuse it.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use micro_sdk::MESSAGE_LIMIT;
use serde_json::{Value, json};

use crate::{
    faulty,
    support::{Home, PATIENCE, http},
};

const CALL: &str = "/helloworld/Call";
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// One server with the program that misbehaves on request.
struct Api {
    home: Home,
    address: String,
}

impl Api {
    fn new(arguments: &[&str]) -> Self {
        let home = Home::new();
        home.ok(["server", "start"].iter().chain(arguments));
        faulty::run(&home, &[]);
        Self { address: home.state().api, home }
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        http(&self.address, method, path, headers, body)
    }

    fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.send("POST", path, &[JSON], body)
    }

    /// A request written as it stands; the whole answer.
    fn raw(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The server may answer, and close, before it has read everything.
        drop(stream.write_all(request));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        answer
    }

    fn head(&self, method: &str, path: &str, headers: &str) -> String {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        String::from_utf8(self.raw(request.as_bytes())).unwrap().to_ascii_lowercase()
    }

    /// The server still does its work.
    fn lives(&self) {
        assert_eq!(self.post(CALL, r#"{"name":"Jane"}"#), greeting("Jane"));
    }
}

fn greeting(name: &str) -> (u16, String) {
    (200, format!("{{\"msg\":\"Hello {name}\"}}"))
}

/// The four fields of an error, checked; its detail.
fn detail((status, body): &(u16, String)) -> String {
    let error: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no error in {body}"));
    assert_eq!(error["code"], json!(status), "{body}");
    assert!(!error["id"].as_str().unwrap().is_empty() && error["status"].is_string(), "{body}");
    error["detail"].as_str().unwrap().to_owned()
}

#[test]
fn a_request_is_a_query_or_json_or_a_form() {
    let api = Api::new(&[]);
    for path in [
        "/helloworld/Call?name=John",
        "/helloworld/call?name=John",
        "/helloworld?name=John",
        "/helloworld/helloworld/call?name=John",
        "//helloworld//Call/?name=John",
        "/helloworld/Call?name=J%6Fhn",
        "/helloworld/%43all?name=John",
        "/hello%77orld/helloworld/c%61ll?name=John",
    ] {
        assert_eq!(api.send("GET", path, &[], ""), greeting("John"), "{path}");
    }
    assert_eq!(api.post(CALL, r#"{"name":"John"}"#), greeting("John"));
    assert_eq!(api.post(CALL, ""), greeting(""));
    assert_eq!(api.post("/helloworld/Call?name=Jane", r#"{"name":"John"}"#), greeting("John"));
    assert_eq!(api.send("PUT", CALL, &[], r#"{"name":"John"}"#), greeting("John"));
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(api.send("POST", CALL, &[form], "name=John"), greeting("John"));
    // What `curl -d '{…}'` sends: it names a form, and is none.
    assert_eq!(api.send("POST", CALL, &[form], r#"{"name":"John & Jane=2"}"#), greeting("John & Jane=2"));
    assert_eq!(
        detail(&api.send("POST", CALL, &[form], r#"{"name":"#)),
        detail(&api.post(CALL, r#"{"name":"#))
    );
    let chunked = format!(
        "POST {CALL} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
         8\r\n{{\"name\":\r\n7\r\n\"John\"}}\r\n0\r\n\r\n"
    );
    assert!(String::from_utf8(api.raw(chunked.as_bytes())).unwrap().ends_with(&greeting("John").1));
}

#[test]
fn a_name_given_twice_is_a_list_where_the_endpoint_takes_one() {
    let api = Api::new(&[]);
    let login = api.post("/auth/Auth/Token", "\u{feff}{\"id\":\"admin\",\"secret\":\"micro\"}");
    let login: Value = serde_json::from_str(&login.1).unwrap();
    let bearer = format!("Bearer {}", login["token"]["access_token"].as_str().unwrap());
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let generate = |path: &str, body: &str| {
        let (status, body) = api.send("POST", path, &[form, ("Authorization", &bearer)], body);
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200, "{answer}");
        let account = &answer["account"];
        json!([account["id"], account["scopes"], account["metadata"]["k"], account["metadata"]["l"]])
    };
    assert_eq!(
        generate(
            "/auth/Auth/Generate?scopes=a&id=query",
            "id=form&scopes=b&scopes=c&metadata.k=1&metadata[l]=2"
        ),
        json!(["form", ["a", "b", "c"], "1", "2"])
    );
    assert_eq!(
        generate("/auth/Auth/Generate", "id=once&scopes=a,b"),
        json!(["once", ["a", "b"], null, null])
    );
    let query = api.send("GET", "/helloworld/Call?name=Jane&name=John", &[], "");
    assert_eq!(query, greeting("John"));
}

#[test]
fn protobuf_goes_in_and_comes_out() {
    let api = Api::new(&[]);
    for form in ["application/protobuf", "application/proto", "application/octet-stream"] {
        let answer = api.send("POST", CALL, &[("Content-Type", form)], "\n\u{4}Jane");
        assert_eq!(answer, (200, "\n\nHello Jane".to_owned()), "{form}");
        let failed = api.send("POST", CALL, &[("Content-Type", form)], "\n\u{7f}");
        assert_eq!(failed.0, 400, "{failed:?}");
    }
    let login = api.send("POST", "/auth/Auth/Token", &[("Content-Type", "application/protobuf")], "\u{1}");
    assert_eq!(login.0, 400, "{login:?}");
    api.lives();
}

#[test]
fn bad_input_is_answered_with_400_and_what_is_wrong() {
    let api = Api::new(&[]);
    for (body, words) in [
        (r#"{"name":["Jane"]}"#, "name"),
        (r#"{"name":{"a":1}}"#, "name"),
        (r#"{"nam":"Jane"}"#, "nam"),
        (r#"{"name":"Jane""#, "not valid JSON"),
        ("nonsense", "not valid JSON"),
        (r#"{"name":"a"} {"name":"b"}"#, "not valid JSON"),
        ("[]", "expected an object, got a list"),
        ("\"Jane\"", "expected an object, got `Jane`"),
        (r#"{"name":"\ud800"}"#, "not valid JSON"),
        (r#"{"name":NaN}"#, "not valid JSON"),
    ] {
        let answer = api.post(CALL, body);
        assert_eq!(answer.0, 400, "{body}: {answer:?}");
        let detail = detail(&answer);
        assert!(detail.contains(words), "{body}: {detail}");
    }
    for (path, words) in [
        ("/helloworld/Call?nam=Jane", "nam"),
        ("/helloworld/Stream?count=many", "count"),
        ("/helloworld/Stream?count=99999999999999999999", "count"),
        ("/helloworld/Call?name[=x", "malformed"),
        ("/helloworld/Call?.=x", "malformed"),
        ("/helloworld/Call?name=a&name.x=b", "name"),
    ] {
        let answer = api.send("GET", path, &[], "");
        assert_eq!(answer.0, 400, "{path}: {answer:?}");
        assert!(detail(&answer).contains(words), "{path}: {answer:?}");
    }
    for depth in [1000, 100_000] {
        let deep = format!("{{\"name\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let answer = api.post(CALL, &deep);
        assert_eq!(answer.0, 400);
        assert!(detail(&answer).contains("`name`: expected a string, got a list"), "{answer:?}");
        // Where the parameters of a query are added, the whole of the body is read first.
        let answer = api.send("POST", &format!("{CALL}?name=a"), &[], &deep);
        assert!(detail(&answer).contains("nested deeper than 127 levels"), "{answer:?}");
        let query = format!("/helloworld/Call?name{}=1", "[a]".repeat(depth.min(10_000)));
        let answer = api.send("GET", &query, &[], "");
        assert!((400..500).contains(&answer.0), "{answer:?}");
    }
    let multipart = api.send("POST", CALL, &[("Content-Type", "multipart/form-data; boundary=x")], "--x--");
    assert_eq!(multipart.0, 415, "{multipart:?}");
    api.lives();
}

#[test]
fn forms_are_taken_as_browsers_send_them() {
    let api = Api::new(&[]);
    let form = ("Content-Type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8");
    let count = |body: &str| api.send("POST", "/helloworld/Stream", &[form], body);
    assert_eq!(count("count=1"), (200, "{\"count\":\"0\"}\n".to_owned()));
    // An input that was left empty, of a number and of a text.
    assert_eq!(count("count="), (200, String::new()));
    assert_eq!(api.send("POST", "/helloworld/Call?name=a", &[form], "name="), greeting(""));
    let refused = count("counts=");
    assert!(refused.0 == 400 && detail(&refused).contains("unknown field `counts`"), "{refused:?}");
    let refused = count("count[=1");
    assert!(refused.0 == 400 && detail(&refused).starts_with("the parameter `count[`"), "{refused:?}");
}

#[test]
fn what_cannot_be_read_is_refused_with_the_way_out() {
    let api = Api::new(&[]);
    let protobuf = ("Content-Type", "application/protobuf");
    for (path, headers, code, words) in [
        ("/helloworld/Call?name=a", &[protobuf][..], 400, "put them into the message"),
        ("/helloworld/Stream", &[protobuf], 415, "send JSON"),
        ("/helloworld/Call", &[("Content-Encoding", "gzip")], 415, "content-encoding `gzip`"),
        (
            "/helloworld/Call",
            &[("Content-Type", "application/json; charset=latin1")],
            415,
            "send it in UTF-8",
        ),
    ] {
        let answer = api.send("POST", path, headers, "");
        assert_eq!(answer.0, code, "{path}: {answer:?}");
        assert!(detail(&answer).contains(words), "{path}: {answer:?}");
    }
    let plain = [("Content-Type", "application/json; charset=\"UTF-8\""), ("Content-Encoding", "identity")];
    assert_eq!(api.send("POST", CALL, &plain, r#"{"name":"Jane"}"#), greeting("Jane"));
    assert_eq!(api.send("POST", "/helloworld/Call?", &[protobuf], "\n\u{4}Jane").1, "\n\nHello Jane");
}

#[test]
fn what_is_not_there_is_404() {
    let api = Api::new(&[]);
    for (path, words) in [
        ("/nothing", "service nothing"),
        ("/nothing/Call", "service nothing"),
        ("/helloworld/Nothing", "Helloworld.Nothing"),
        ("/helloworld/Nothing/Call", "Nothing.Call"),
        ("/%2e%2e/etc/passwd", "service"),
        ("/v1/nothing/Call", "service v1.nothing"),
        ("/registry/Registry/Nothing", "Registry.Nothing"),
    ] {
        let answer = api.post(path, "{}");
        assert_eq!(answer.0, 404, "{path}: {answer:?}");
        assert!(detail(&answer).contains(words), "{path}: {answer:?}");
    }
    let other = api.send("POST", CALL, &[JSON, ("Micro-Namespace", "other")], "{}");
    assert_eq!(other.0, 404, "{other:?}");
    assert_eq!(api.send("TRACE", CALL, &[], "").0, 405);
    let (status, version) = api.send("GET", "/", &[], "");
    assert_eq!(status, 200);
    assert!(serde_json::from_str::<Value>(&version).unwrap()["version"].is_string(), "{version}");
}

#[test]
fn a_stream_is_one_document_a_line_and_its_error_the_last() {
    let api = Api::new(&[]);
    let (status, body) = api.send("GET", "/helloworld/Stream?count=3", &[], "");
    assert_eq!((status, &*body), (200, "{\"count\":\"0\"}\n{\"count\":\"1\"}\n{\"count\":\"2\"}\n"));
    assert!(api.head("GET", "/helloworld/Stream?count=1", "").contains("content-type: application/x-ndjson"));
    assert_eq!(api.post("/helloworld/Stream", r#"{"count":0}"#), (200, String::new()));
    // Where a service would go on to listen, the one request is all that comes.
    let pong = (200, "{\"stroke\":\"1\"}\n".to_owned());
    assert_eq!(api.send("GET", "/helloworld/PingPong?stroke=1", &[], ""), pong);
    assert_eq!(api.post("/helloworld/PingPong", r#"{"stroke":"1"}"#), pong);

    let (status, body) = api.post("/helloworld/Stream", r#"{"count":-1}"#);
    let lines: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((status, lines.len(), &lines[0]), (200, 2, &json!({"count": "0"})), "{body}");
    assert_eq!((&lines[1]["code"], &lines[1]["detail"]), (&json!(409), &json!("counted backwards")));
    let early = api.post("/helloworld/Stream", r#"{"count":2000}"#);
    assert_eq!((early.0, &*detail(&early)), (409, "too far"));
}

#[test]
fn what_a_handler_does_wrong_is_told_and_the_server_lives() {
    let api = Api::new(&[]);
    for code in [400, 401, 402, 403, 404, 408, 409, 410, 412, 418, 422, 500, 501, 502, 503, 504] {
        let answer = api.post(CALL, &json!({ "name": format!("error {code}") }).to_string());
        assert_eq!((answer.0, &*detail(&answer)), (code, "100% wrong: \"ä\"\n"));
        assert!(!answer.1.contains("Unknown"), "{answer:?}");
    }
    for code in ["0", "-1", "200", "99999"] {
        let answer = api.post(CALL, &json!({ "name": format!("error {code}") }).to_string());
        assert_eq!(answer.0, 500, "{code}: {answer:?}");
    }
    let answer = api.post(CALL, r#"{"name":"panic"}"#);
    assert_eq!(answer.0, 500, "{answer:?}");
    assert!(!detail(&answer).is_empty());
    let late = api.send("POST", CALL, &[JSON, ("Timeout", "50000000")], r#"{"name":"wait"}"#);
    assert_eq!(late.0, 408, "{late:?}");
    api.lives();
    assert!(api.home.ok(["status", "helloworld"]).contains("running"));
}

#[test]
fn tokens_are_checked_and_only_bearer_is_known() {
    let api = Api::new(&[]);
    let login = api.post("/auth/Auth/Token", r#"{"id":"admin","secret":"micro","token_expiry":60}"#);
    let login: Value = serde_json::from_str(&login.1).unwrap();
    let bearer = format!("Bearer {}", login["token"]["access_token"].as_str().unwrap());
    let list = "/registry/Registry/ListServices";
    assert_eq!(api.send("GET", list, &[("Authorization", &bearer)], "").0, 200);
    assert_eq!(api.send("GET", CALL, &[("Authorization", &bearer)], "").0, 200);
    assert_eq!(api.send("GET", list, &[], "").0, 401);

    let expired = api.post("/auth/Auth/Token", r#"{"id":"admin","secret":"micro","token_expiry":1}"#);
    let expired: Value = serde_json::from_str(&expired.1).unwrap();
    let expired = format!("Bearer {}", expired["token"]["access_token"].as_str().unwrap());
    crate::support::eventually("the token to expire", || {
        (api.send("GET", CALL, &[("Authorization", &expired)], "").0 == 401).then_some(())
    });
    let tampered = format!("{}x{}", &bearer[..bearer.len() - 2], &bearer[bearer.len() - 1..]);
    for value in
        [&*tampered, "Bearer nonsense", "Bearer a.b.c", "Bearer", "Basic YWRtaW46bWljcm8=", "nonsense"]
    {
        let answer = api.send("GET", CALL, &[("Authorization", value)], "");
        assert_eq!(answer.0, 401, "{value}: {answer:?}");
        let token = value.split(' ').next_back().unwrap();
        let detail = detail(&answer);
        assert!(token == "Bearer" || !detail.contains(token), "a token is not repeated: {detail}");
    }
}

#[test]
fn strangers_are_kept_out_and_welcome_pages_let_in() {
    let api = Api::new(&["--allow-origin", "https://app.test"]);
    for (headers, expected) in [
        (vec![("Host", "evil.test")], 421),
        (vec![("Host", "localhost.evil.test:8080")], 421),
        (vec![("Host", "")], 421),
        (vec![("Host", "localhost"), ("Origin", "https://evil.test")], 403),
        (vec![("Host", "localhost"), ("Origin", "null")], 403),
        (vec![("Host", "localhost"), ("Sec-Fetch-Site", "cross-site")], 403),
        (vec![("Host", "localhost"), ("Sec-Fetch-Site", "same-site")], 403),
        (vec![("Host", "localhost"), ("Origin", "http://localhost"), ("Origin", "http://localhost")], 400),
        (vec![("Host", "localhost"), ("Sec-Fetch-Site", "same-origin")], 200),
        (vec![("Host", "localhost"), ("Sec-Fetch-Site", "none")], 200),
        (vec![("Host", "localhost"), ("Origin", "http://localhost")], 200),
        (vec![("Host", "[::1]:80"), ("Origin", "https://app.test")], 200),
    ] {
        for (method, path) in [("GET", "/"), ("GET", "/helloworld/Call"), ("POST", "/helloworld/Call")] {
            assert_eq!(api.send(method, path, &headers, "").0, expected, "{method} {path} {headers:?}");
        }
    }
    let allowed = api.head("GET", CALL, "Origin: https://app.test\r\n");
    assert!(allowed.contains("access-control-allow-origin: https://app.test\r\n"), "{allowed}");
    assert!(allowed.contains("vary: origin"), "{allowed}");
    let preflight =
        api.head("OPTIONS", CALL, "Origin: https://app.test\r\nAccess-Control-Request-Method: POST\r\n");
    assert!(preflight.starts_with("http/1.1 204"), "{preflight}");
    assert!(preflight.contains("access-control-allow-methods: get, post"), "{preflight}");
    assert!(preflight.contains("access-control-allow-headers:"), "{preflight}");
    assert!(preflight.contains("access-control-max-age: 600\r\n"), "{preflight}");
    let asked = "Origin: https://app.test\r\nAccess-Control-Request-Method: POST\r\n\
                 Access-Control-Request-Headers: x-shop,content-type, Micro-Account, traceparent\r\n";
    let preflight = api.head("OPTIONS", CALL, asked);
    let reflected = "access-control-allow-headers: x-shop, content-type, traceparent\r\n";
    assert!(preflight.contains(reflected), "{preflight}");
    let refused = api.head("OPTIONS", CALL, "Origin: https://evil.test\r\n");
    assert!(refused.starts_with("http/1.1 403") && !refused.contains("access-control"), "{refused}");
    assert!(!api.head("GET", CALL, "").contains("access-control"));
    // The gRPC doors are no way around.
    let state = api.home.state();
    for door in [&state.proxy, &state.network] {
        assert_eq!(http(door, "GET", "/", &[("Host", "evil.test")], "").0, 421);
        assert_eq!(http(door, "POST", "/", &[("Origin", "https://evil.test")], "").0, 403);
    }
}

#[test]
fn a_body_over_the_limit_is_413_and_not_waited_for() {
    let api = Api::new(&[]);
    let fits = format!("{{\"name\":\"{}\"}}", "a".repeat(MESSAGE_LIMIT - 64));
    assert_eq!(api.post(CALL, &fits).0, 200);
    // It says beforehand that it is too large; nothing of it has to be sent.
    let head = |length: &str| {
        format!("POST {CALL} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}\r\n\r\n")
    };
    let declared = api.raw(head(&format!("Content-Length: {}", MESSAGE_LIMIT + 1)).as_bytes());
    assert!(declared.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&declared));
    let error = String::from_utf8_lossy(&declared).split("\r\n\r\n").nth(1).unwrap().to_owned();
    assert!(detail(&(413, error)).contains("larger than"));
    // It never comes.
    let late = api.raw(head("Content-Length: 10\r\nTimeout: 50000000").as_bytes());
    assert!(late.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&late));
    // It does not say how long it is, and goes on.
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "a".repeat(1 << 20));
    let endless = head("Transfer-Encoding: chunked") + &chunk.repeat((MESSAGE_LIMIT >> 20) + 1);
    let answer = api.raw(endless.as_bytes());
    assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    api.lives();
}

#[test]
fn who_is_refused_before_the_body_is_read_is_told_that_the_connection_ends() {
    let api = Api::new(&[]);
    let ask = |authorization: &str, path: &str| {
        let body = "x".repeat(100_000);
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        String::from_utf8(api.raw(request.as_bytes())).unwrap().to_ascii_lowercase()
    };
    for answer in [ask("Authorization: Bearer x\r\n", CALL), ask("", "/nobody/Call")] {
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
    api.lives();
}

#[test]
fn malformed_requests_are_refused_and_other_methods_answered() {
    let api = Api::new(&[]);
    for (expected, request) in [
        ("400", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        ("400", "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\nConnection: close\r\n\r\n"),
        ("200", "GET / HTTP/1.0\r\n\r\n"),
        ("400", "GET /helloworld/Call\u{0} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("400", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n"),
        ("400", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ("400", "nonsense\r\n\r\n"),
    ] {
        let answer = api.raw(request.as_bytes());
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert_eq!(status, expected, "{request:?}: {answer}");
    }
    let head = api.head("HEAD", "/", "");
    assert!(head.starts_with("http/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    let head = api.head("HEAD", CALL, "");
    assert!(head.starts_with("http/1.1 405") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains("\r\nallow: get, post, put, patch, delete, options\r\n"), "{head}");
    assert!(api.head("OPTIONS", CALL, "").starts_with("http/1.1 204"));
    assert!(api.head("GET", "/", "").contains("x-content-type-options: nosniff\r\n"));
    // The absolute form, as proxies send it, says the same as the header.
    let absolute = |host: &str| api.head("GET", &format!("http://{host}/helloworld/Call?name=Jane"), "");
    assert!(absolute("localhost").ends_with("{\"msg\":\"hello jane\"}"));
    assert!(absolute(&api.address).starts_with("http/1.1 400"));
    api.lives();
}

#[test]
fn forms_and_queries_are_weighed_and_what_is_long_is_not_repeated() {
    const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
    let api = Api::new(&[]);
    let deep = format!("a{}", ".a".repeat(15));
    let many = vec![&*deep; 10_000].join("&");
    assert_eq!(api.send("POST", CALL, &[FORM], &many).0, 413);
    assert_eq!(api.send("POST", "/auth/Auth/Token", &[FORM], "a[b][c]=1").0, 400);
    assert_eq!(api.send("GET", &format!("{CALL}?{deep}.a=1"), &[], "").0, 400);
    let long = "x".repeat(1 << 20);
    let name = "x".repeat(20_000);
    for (path, body, status) in [
        (CALL.to_owned(), format!("{long}[=1"), 400),
        (CALL.to_owned(), format!("{long}=1&{long}.a=1"), 400),
        (format!("/{name}/Call"), String::new(), 404),
        (format!("/helloworld/{name}"), String::new(), 404),
    ] {
        let answer = api.send("POST", &path, &[FORM], &body);
        assert!(answer.0 == status && answer.1.len() < 8 << 10, "{} of {} bytes", answer.0, answer.1.len());
    }
    assert_eq!(api.send("POST", CALL, &[FORM], "name=Jane"), greeting("Jane"));
    api.lives();
}

#[tokio::test]
async fn what_is_refused_to_head_has_no_body_over_http_2() {
    let api = Api::new(&[]);
    let stream = tokio::net::TcpStream::connect(&api.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    for (host, status) in [("example.com", 421), ("localhost", 200)] {
        let request = http::Request::head(format!("http://{host}/"));
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), status, "{host}");
        assert_ne!(response.headers()["content-length"], "0");
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        assert!(body.is_empty(), "{body:?}");
    }
}
