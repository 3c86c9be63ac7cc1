"""Envoy with its transcoder from JSON to gRPC, in front of the same service, beside the HTTP API."""

import base64
import contextlib
import http.client
import json
import pathlib
import socket
import subprocess
import tempfile

import harness
from harness import Figure, each
from home import ROOT, eventually

PATH = "helloworld.Helloworld/Call"
# What its protocol options and filters are called.
EXTENSIONS = "type.googleapis.com/envoy.extensions"
UNIX = "unix:"


def api(bench):
    """Small messages, one in flight, everything on one core."""
    subprocess.run([ROOT / "scripts/python-environment", "envoy"], check=True)
    with bench.helloworld(bench.path) as home, tempfile.TemporaryDirectory() as folder:
        token, state = home.token(), home.state()
        with serving(pathlib.Path(folder), descriptors(home, token), home.node("helloworld", token), bench) as envoy:

            def measure(address, what):
                words = ["calls", "http", address, what, 1, bench.seconds, 4]
                measured = bench.load(*words, prefix=bench.path)
                return measured | {"figure": measured["requests"] / measured["seconds"]}

            ratios, theirs, ours = harness.pairs(
                bench.pairs, lambda: measure(envoy, PATH), lambda: measure(state["api"], "helloworld")
            )
    note = (
        f"{harness.median(theirs, 'figure'):,.0f}/s -> {harness.median(ours, 'figure'):,.0f}/s; "
        f"p50 {harness.median(theirs, 'p50_us'):.0f} -> {harness.median(ours, 'p50_us'):.0f} us; {ratios.note()}"
    )
    bench.show(Figure("api-envoy", ratios.median, "x Envoy", note))


def descriptors(home, token):
    """The descriptors that the service registered."""
    services = home.call("/registry/Registry/GetService", {"service": "helloworld"}, token)["services"]
    wanted = {"descriptor_hash": services[0]["descriptor_hash"]}
    return base64.b64decode(home.call("/registry/Registry/Descriptors", wanted, token)["descriptor_set"])


@contextlib.contextmanager
def serving(folder, described, upstream, bench):
    """Envoy in front of a service: its address, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "descriptors").write_bytes(described)
    (folder / "envoy.json").write_text(json.dumps(config(folder, port, upstream)))
    program = next((ROOT / "target/envoy").glob("lib/python*/site-packages/envoy/_bin/envoy"))
    options = ["--config-path", folder / "envoy.json", "--concurrency", "1", "--log-level", "error"]
    words = [*bench.path, program, *options, "--disable-hot-restart"]
    with subprocess.Popen([str(word) for word in words]) as process:
        try:
            eventually("Envoy to answer", lambda: answers(port))
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


def answers(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    with contextlib.suppress(OSError), contextlib.closing(connection):
        connection.request("POST", f"/{PATH}", '{"name":"Jane"}', {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    return False


def config(folder, port, upstream):
    """One listener, one route, one cluster: nothing that Envoy could do without."""
    transcoder = {
        "@type": f"{EXTENSIONS}.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor": str(folder / "descriptors"),
        "services": ["helloworld.Helloworld"],
        "auto_mapping": True,
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "service", "timeout": "60s"}}
    manager = {
        "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "api",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "transcoder", "typed_config": transcoder},
            {"name": "router", "typed_config": {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"}},
        ],
    }
    protocol = {
        "@type": f"{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    cluster = {
        "name": "service",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "service",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}],
        },
        "typed_extension_protocol_options": {protocol["@type"].rpartition("/")[2]: protocol},
    }
    filters = [{"name": "manager", "typed_config": manager}]
    listener = {"name": "api", "address": address(f"127.0.0.1:{port}"), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def address(text):
    if text.startswith(UNIX):
        return {"pipe": {"path": text.removeprefix(UNIX)}}
    host, port = text.rsplit(":", 1)
    return {"socket_address": {"address": host, "port_value": int(port)}}


ROWS = each({"api-envoy": api})
