"""Attacks by web pages, and by what one program on the way reads otherwise than the next."""

import http2
from attack import attack
from wire import Answer, bearer, connect, exchange, head, http, post

CALL = "/helloworld/Helloworld/Call?name=Jane"


def raw(address, lines, body=b""):
    """A request written out; the answer."""
    with connect(address, timeout=15) as stream:
        return Answer(exchange(stream, "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body))


def doors(trial):
    """The addresses where HTTP is spoken."""
    return [trial.state[name] for name in ("api", "proxy", "network")]


@attack("same-site-page", "no web page of another origin, site or port is answered, whatever the method")
def same_site_page(trial):
    trial.run_service()
    api = trial.state["api"]
    trial.holds(http(api, "GET", CALL).status == 200, "a plain call")
    trial.holds(http(api, "GET", CALL, [("Sec-Fetch-Site", "none")]).status == 200, "an address that was typed")
    trial.holds(
        http(api, "GET", CALL, [("Sec-Fetch-Site", "same-origin"), ("Origin", f"http://{api}")]).status == 200,
        "an own page",
    )
    foreign = [
        [("Sec-Fetch-Site", site)] for site in ("same-site", "cross-site", "Same-Origin", "same-origin, none", "", "?")
    ]
    origins = [
        "null",
        "http://evil.test",
        "http://localhost:1",
        f"https://{api}.evil.test",
        f"http://x@{api}",
        "file://",
        "",
        f"http://{api}/",
    ]
    foreign += [[("Origin", origin)] for origin in origins]
    foreign += [[("Origin", origin), ("Sec-Fetch-Site", "same-origin")] for origin in origins if origin]
    for headers in foreign:
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
            for address in doors(trial)[: trial.times(3, 1)]:
                answer = http(address, method, CALL, headers)
                trial.holds(answer.status == 403, f"{method} with {headers}: {answer}")
                trial.holds("access-control-allow-origin" not in answer.headers, f"{method} with {headers} may be read")
    for door in ("proxy", "network", "api"):
        with http2.Connection(trial.state[door]) as connection:
            for headers in foreign[:6]:
                reply = connection.call(
                    "/helloworld.Helloworld/Call", {"name": "Jane"}, [(n.lower(), v) for n, v in headers]
                )
                trial.holds(reply.code == 403, f"{door} with {headers}: {reply}")


@attack("get-by-page", "a link, an image or a form of a page makes no call that changes something")
def get_by_page(trial):
    api = trial.state["api"]
    kinds = [
        [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Dest", dest)]
        for mode, dest in (
            ("no-cors", "image"),
            ("navigate", "document"),
            ("cors", "empty"),
            ("websocket", "websocket"),
        )
    ]
    kinds += [[("Origin", "null")], [("Origin", "http://evil.test"), ("Content-Type", "text/plain")]]
    for headers in kinds:
        for path in ("/store/Store/Write?record.key=page", "/auth/Auth/Token?id=admin&secret=micro", "/"):
            for method, body in (("GET", b""), ("POST", b'{"record": {"key": "page"}}')):
                answer = http(api, method, path, [*headers, *bearer(trial.token)], body)
                trial.holds(answer.status == 403, f"{method} {path} with {headers}: {answer}")
    trial.holds(
        post(api, "/store/Store/Read", {"key": "page"}, trial.token).status == 404, "a page has written a record"
    )


@attack("rebound-names", "a name that points at this machine is not answered to")
def rebound_names(trial):
    for address in doors(trial):
        for host in (
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "localhost.",
            "evil.test:80",
            "",
            "localhost@evil.test",
        ):
            answer = http(address, "GET", "/", [("Host", host)])
            trial.holds(answer.status in (400, 421), f"the name {host!r}: {answer}")
        answer = raw(address, ["GET http://evil.test/ HTTP/1.1", f"Host: {address}"])
        trial.holds(answer.status in (400, 421), f"the absolute form of another name: {answer}")
        with http2.Connection(address) as connection:
            connection.authority = "evil.test"
            reply = connection.call("/auth.Auth/Token", {"id": "admin", "secret": "micro"})
            trial.holds(reply.code == 421 and b"access" not in reply.data, f"the authority evil.test: {reply}")


@attack("two-hosts", "a request that can be read in two ways is refused")
def two_hosts(trial):
    for address in doors(trial):
        line, host = "GET / HTTP/1.1", f"Host: {address}"
        twice = {
            "two hosts": [line, host, "Host: evil.test"],
            "two equal hosts": [line, host, host],
            "two origins": [line, host, f"Origin: http://{address}", "Origin: http://evil.test"],
            "two sites": [line, host, "Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"],
            "no host": [line],
            "a blank before the colon": [line, f"Host : {address}", host],
            "a folded line": [line, host, " evil.test"],
            "an unreadable host": [line, "Host: a b"],
            "two lengths": ["POST / HTTP/1.1", host, "Content-Length: 2", "Content-Length: 3"],
            "two different codings": [
                "POST / HTTP/1.1",
                host,
                "Content-Length: 2",
                "Transfer-Encoding: identity, chunked, x",
            ],
        }
        for name, lines in twice.items():
            answer = raw(address, lines, b"{}" if "POST" in lines[0] else b"")
            trial.holds(answer.status in (0, 400, 403, 501), f"{name}: {answer}")
    api = trial.state["api"]
    two = [("Authorization", f"Bearer {trial.token}"), ("Authorization", "Bearer x")]
    answer = http(api, "POST", "/store/Store/Read", two, b'{"key": "a"}')
    trial.holds(answer.status in (400, 401), f"two tokens: {answer}")
    # Behind a length and a coding together a second request would hide.
    hidden = f"POST /helloworld/Call HTTP/1.1\r\nHost: {api}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    hidden += f"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: {api}\r\n\r\n"
    with connect(api, timeout=3) as stream:
        answers = exchange(stream, hidden.encode())
        trial.holds(answers.count(b"HTTP/1.1 ") <= 1, f"a hidden request is answered: {answers[:300]!r}")


@attack("bare-line-feeds", "lines of HTTP/1 end with CR and LF, or the request is refused")
def bare_line_feeds(trial):
    for address in doors(trial)[:1]:
        good = f"GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        for name, text in {
            "only LF": good.replace("\r\n", "\n"),
            "LF after the first line": good.replace("\r\n", "\n", 1),
            "LF at the end": good[:-2] + "\n",
            "only CR": good.replace("\r\n", "\r"),
            "LF within the head": good.replace("\r\nConn", "\nConn"),
            "LF after a chunk's length": f"POST /auth/Auth/Inspect HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n"
            "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
        }.items():
            with connect(address, timeout=15) as stream:
                answer = Answer(exchange(stream, text.encode()))
            trial.holds(answer.status in (0, 400), f"{name}: {answer}")


@attack("foreign-headers", "only headers of calls travel, whatever `Connection` names")
def foreign_headers(trial):
    trial.run_service()
    api, address = trial.state["api"], trial.home.node("helloworld", trial.token)
    sent = [
        ("Micro-Account", "admin"),
        ("Micro-From-Service", "auth"),
        ("micro-secret", "x"),
        ("MICRO-SCOPES", "admin"),
    ]
    sent += [
        ("Connection", "X-Hop, X-Skip"),
        ("X-Hop", "1"),
        ("X-Skip", "1"),
        ("Keep-Alive", "x"),
        ("Proxy-Authorization", "x"),
    ]
    sent += [("TE", "x"), ("Trailer", "X"), ("Upgrade", "x"), ("X-Forwarded-Account", "passes")]
    body = b'{"name": "headers"}'
    with connect(api, timeout=15) as stream:
        lines = head(
            "POST", "/helloworld/Helloworld/Call", api, [("Content-Type", "application/json"), *sent], len(body)
        )
        stream.sendall(lines + body)
        answer = Answer(stream.recv(1 << 16))
    arrived = answer.text.lower()
    trial.holds(answer.status == 200 and "x-forwarded-account" in arrived, f"a plain header does not travel: {answer}")
    for name in (
        "micro-account",
        "micro-from-service",
        "micro-secret",
        "micro-scopes",
        "x-hop",
        "x-skip",
        "proxy-auth",
    ):
        trial.holds(name not in arrived, f"{name} reaches the service: {arrived}")
    for door in ("proxy", "network"):
        with http2.Connection(trial.state[door]) as connection:
            extra = [("micro-account", "admin"), ("micro-from-service", "auth"), ("x-plain", "1")]
            reply = connection.call("/helloworld.Helloworld/Call", {"name": "headers"}, extra)
            text = reply.data.decode(errors="replace").lower()
            trial.holds(
                "x-plain" in text and "micro-account" not in text and "micro-from" not in text,
                f"{door}: {reply} {text}",
            )
    trial.holds(address.startswith("unix:"), address)


@attack("malformed-headers", "headers that cannot be read are told so, never answered with 500")
def malformed_headers(trial):
    trial.run_service()
    api = trial.state["api"]
    bad = [
        ("x-bin", "?"),
        ("x-bin", "a"),
        ("grpc-timeout", "5Z"),
        ("grpc-timeout", "-1S"),
        ("grpc-timeout", ""),
        ("timeout", "x"),
    ]
    bad += [
        ("grpc-timeout", "99999999999S"),
        ("grpc-encoding", "gzip"),
        ("grpc-encoding", "x"),
        ("content-type", "x/y"),
    ]
    bad += [
        ("authorization", "Bearer"),
        ("authorization", "Bearer \x7f"),
        ("authorization", "Bearer a.b.c"),
        ("micro-namespace", "\u00e4"),
    ]
    bad += [
        ("micro-namespace", "../x"),
        ("micro-namespace", "x" * 5000),
        ("micro-version", "\u00e4"),
        ("content-encoding", "gzip"),
    ]
    for name, value in bad:
        wire = value.encode("latin-1").decode("latin-1")
        lines = ["POST /helloworld/Helloworld/Call HTTP/1.1", f"Host: {api}", "Content-Length: 2"]
        lines += [f"{name}: {wire}"] + ([] if name == "content-type" else ["Content-Type: application/json"])
        answer = raw(api, lines, b"{}")
        trial.holds(0 < answer.status < 500 or answer.status == 501, f"{name}: {value[:20]!r} over HTTP: {answer}")
        for door in ("proxy", "network"):
            with http2.Connection(trial.state[door]) as connection:
                extra = [] if name == "content-type" else [(name, value.encode("latin-1"))]
                form = value if name == "content-type" else "application/grpc+json"
                try:
                    reply = connection.call("/helloworld.Helloworld/Call", b"{}", extra, form)
                except OSError:
                    continue
                trial.holds(reply.code not in (500,), f"{name}: {value[:20]!r} at {door}: {reply}")
    many = [(f"x-{number}", "y") for number in range(300)]
    large = [("x-large", "y" * 70_000)]
    for headers in (many, large):
        answer = http(api, "GET", CALL, headers)
        trial.holds(
            answer.status in (200, 431) and (answer.status == 200 or answer.json()), f"{len(headers)} headers: {answer}"
        )
        with http2.Connection(trial.state["proxy"]) as connection:
            try:
                reply = connection.call("/helloworld.Helloworld/Call", {"name": "Jane"}, headers)
                trial.holds(reply.code in (200, 431), f"{len(headers)} headers at the proxy: {reply}")
            except OSError:
                trial.note("the proxy ends a connection with a large head")
    trial.alive()


# A method as it is not written, over HTTP and by gRPC.
SPELLINGS = [
    "/helloworld/Helloworld/Call", "/helloworld/helloworld/call", "/helloworld/HELLOWORLD/CALL", "/helloworld/Call",
    "/helloworld/call", "/helloworld/Helloworld/%43all", "/helloworld/%48elloworld/Call",
    "/%68elloworld/Helloworld/Call", "/helloworld/Helloworld/Call%20", "/helloworld/Helloworld/Call%00",
    "/helloworld/Helloworld/Call/", "//helloworld//Helloworld//Call", "/helloworld/./Helloworld/Call",
    "/x/../helloworld/Helloworld/Call", "/helloworld/Helloworld/C_all", "/helloworld/Helloworld/Call?x",
    "/helloworld/Helloworld.Call", "/helloworld/Helloworld%2FCall", "/helloworld%2FHelloworld%2FCall",
    "/Helloworld/Helloworld/Call", "/helloworld/Helloworld/Call;x", "/helloworld/Helloworld/%2563all",
    "/helloworld/Helloworld/Ca\u200bll", "/helloworld/Helloworld/Call%E2%80%8B", "/v1/helloworld/Helloworld/Call",
    "/helloworld/Helloworld/Call#x", "/helloworld/Helloworld\\Call", "/helloworld/Helloworld/Call%09",
    "/helloworld/hello-world/call",
]  # fmt: skip
BY_GRPC = [
    "/helloworld.Helloworld/Call", "/helloworld.helloworld/call", "/helloworld.Helloworld/Call/",
    "/helloworld.Helloworld/C-all", "/helloworld.Helloworld/Call ", "/helloworld.Helloworld/%43all",
    "//helloworld.Helloworld/Call", "/helloworld.Helloworld//Call", "/Helloworld.Helloworld/Call",
    "/x.helloworld.Helloworld/Call", "/helloworld..Helloworld/Call", "/helloworld.Helloworld./Call", "/Helloworld/Call",
    "/helloworld.Helloworld/Call?x", "/helloworld.Helloworld/Call%20", "/helloworld.Helloworld/Helloworld.Call",
    "/helloworld.Hello_World/Call", "/helloworld/Helloworld.Call", "/helloworld/Helloworld/Call",
]  # fmt: skip


@attack(
    "rule-spellings", "a rule that denies a method holds however the method is spelled, with descriptors or without"
)
def rule_spellings(trial):
    trial.run_service()
    state, token = trial.state, trial.account("jane")
    known = post(state["api"], "/registry/Registry/GetService", {"service": "helloworld"}, trial.token).json()
    address = known["services"][0]["nodes"][0]["address"]
    # The same program under a name whose service tells nothing about itself.
    plain = {
        "name": "plain",
        "version": "1",
        "nodes": [{"id": "p", "address": address}],
        "options": {"ttl": "600"},
    }
    trial.holds(
        post(state["api"], "/registry/Registry/Register", plain, trial.token).status == 200,
        "no service without descriptors",
    )
    for name in ("helloworld", "plain"):
        # Without descriptors a rule cannot know more than the words.
        trial.home.ok(
            "auth",
            "create",
            "rule",
            "--scope=",
            f"--resource=service:{name}:Helloworld.Call",
            "--access=denied",
            "--priority=9",
            f"no-{name}",
        )
    for token_ in (None, token):
        for name in ("helloworld", "plain"):
            for path in SPELLINGS:
                path = path.replace("helloworld", name, 1).encode().decode("latin-1")
                for method in ("GET", "POST"):
                    lines = [f"{method} {path} HTTP/1.1", f"Host: {state['api']}", "Content-Type: application/json"]
                    lines += [f"Authorization: Bearer {token_}"] if token_ else []
                    body = b'{"name": "Jane"}' if method == "POST" else b""
                    answer = raw(state["api"], [*lines, f"Content-Length: {len(body)}"], body)
                    trial.holds("Hello Jane" not in answer.text and answer.status != 200, f"{method} {path}: {answer}")
            for path in BY_GRPC:
                path = path.replace("helloworld", name, 1)
                for door in ("proxy", "network"):
                    with http2.Connection(state[door], timeout=15) as connection:
                        headers = [("authorization", f"Bearer {token_}")] if token_ else []
                        for form, body in (
                            ("application/grpc+json", b'{"name": "Jane"}'),
                            ("application/grpc", b"\x0a\x04Jane"),
                        ):
                            try:
                                reply = connection.call(path, body, headers, form)
                            except OSError:
                                break
                            trial.holds(b"Hello Jane" not in reply.data, f"{door} {path}: {reply}")
                    if trial.short:
                        break
