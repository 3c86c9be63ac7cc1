"""A client with grpcio and no code of this project but the .proto files, compiled by the test.

Usage: client.py <folder of the compiled files> <address of the proxy>
"""

import queue
import sys

sys.path.insert(0, sys.argv[1])

import auth_pb2
import auth_pb2_grpc
import grpc
import helloworld_pb2
import helloworld_pb2_grpc
import registry_pb2
import registry_pb2_grpc

PATIENCE = 30

with grpc.insecure_channel(sys.argv[2]) as channel:
    hello = helloworld_pb2_grpc.HelloworldStub(channel)
    reply = hello.Call(helloworld_pb2.CallRequest(name="Jane"), timeout=PATIENCE)
    print("unary", reply.msg)

    replies = hello.Stream(helloworld_pb2.StreamRequest(count=3), timeout=PATIENCE)
    print("stream", *[reply.count for reply in replies])

    # A request that stays open, as a client of Micro v4 in Go leaves it.
    counts = queue.SimpleQueue()
    counts.put(helloworld_pb2.StreamRequest(count=3))
    stream = channel.stream_stream(
        "/helloworld.Helloworld/Stream",
        request_serializer=helloworld_pb2.StreamRequest.SerializeToString,
        response_deserializer=helloworld_pb2.StreamResponse.FromString,
    )
    replies = stream(iter(counts.get, None), timeout=PATIENCE)
    print("open-stream", *[reply.count for reply in replies])
    counts.put(None)

    # The next ping is sent when the last pong has come: both directions are open at once.
    strokes = queue.SimpleQueue()
    strokes.put(0)
    pings = (helloworld_pb2.Ping(stroke=stroke) for stroke in iter(strokes.get, None))
    answered = []
    for pong in hello.PingPong(pings, timeout=PATIENCE):
        answered.append(pong.stroke)
        strokes.put(pong.stroke + 1 if pong.stroke < 2 else None)
    print("ping-pong", *answered)

    registry = registry_pb2_grpc.RegistryStub(channel)
    try:
        registry.ListServices(registry_pb2.ListRequest(), timeout=PATIENCE)
    except grpc.RpcError as error:
        print("anonymous", error.code().name)

    auth = auth_pb2_grpc.AuthStub(channel)
    login = auth.Token(auth_pb2.TokenRequest(id="admin", secret="micro"), timeout=PATIENCE)
    metadata = [("authorization", "Bearer " + login.token.access_token)]
    listed = registry.ListServices(registry_pb2.ListRequest(), metadata=metadata, timeout=PATIENCE)
    print("services", *sorted(service.name for service in listed.services))
