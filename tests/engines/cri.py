#!/usr/bin/env python3
"""One call of the Kubernetes container runtime interface, v1 (k8s.io/cri-api, runtime.v1).

    cri.py METHOD 'JSON of the request' [INPUT]

Prints the answer as JSON, with the names of the fields as the API has them; an error as `error: CODE: TEXT`,
with exit code 1. Exec, Attach and PortForward are followed to where their answer leads: INPUT is sent there, and
what comes back is printed, with the exit code of the program, or 124 if nothing comes any more. Of the messages it has what the tests use: a field per word, `name=number:type`, where a type
without one is a string, `*` before it says repeated, `map` is of strings to strings. Enumerations are int32.
"""
import base64
import json
import os
import socket
import struct
import sys
import urllib.parse

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

SOCKET = "unix:///run/containerd/containerd.sock"
PACKAGE = "runtime.v1"

MESSAGES = """
VersionRequest version=1
VersionResponse version=1 runtime_name=2 runtime_version=3 runtime_api_version=4
StatusRequest verbose=1:bool
StatusResponse runtime_handlers=3:*RuntimeHandler
RuntimeHandler name=1 features=2:RuntimeHandlerFeatures
RuntimeHandlerFeatures recursive_read_only_mounts=1:bool user_namespaces=2:bool

PodSandboxMetadata name=1 uid=2 namespace=3 attempt=4:uint32
PodSandboxConfig metadata=1:PodSandboxMetadata hostname=2 log_directory=3 dns_config=4:DNSConfig port_mappings=5:*PortMapping labels=6:map annotations=7:map linux=8:LinuxPodSandboxConfig
DNSConfig servers=1:* searches=2:* options=3:*
PortMapping protocol=1:int32 container_port=2:int32 host_port=3:int32 host_ip=4
LinuxPodSandboxConfig cgroup_parent=1 security_context=2:LinuxSandboxSecurityContext sysctls=3:map
LinuxSandboxSecurityContext namespace_options=1:NamespaceOption privileged=6:bool seccomp=9:SecurityProfile
NamespaceOption network=1:int32 pid=2:int32 ipc=3:int32 target_id=4 userns_options=5:UserNamespace
UserNamespace mode=1:int32 uids=2:*IDMapping gids=3:*IDMapping
IDMapping host_id=1:uint32 container_id=2:uint32 length=3:uint32
SecurityProfile profile_type=1:int32 localhost_ref=2
RunPodSandboxRequest config=1:PodSandboxConfig runtime_handler=2
RunPodSandboxResponse pod_sandbox_id=1
StopPodSandboxRequest pod_sandbox_id=1
StopPodSandboxResponse
RemovePodSandboxRequest pod_sandbox_id=1
RemovePodSandboxResponse
PodSandboxStatusRequest pod_sandbox_id=1 verbose=2:bool
PodSandboxStatusResponse status=1:PodSandboxStatus info=2:map
PodSandboxStatus id=1 metadata=2:PodSandboxMetadata state=3:int32 network=5:PodSandboxNetworkStatus runtime_handler=9
PodSandboxNetworkStatus ip=1
ListPodSandboxRequest
ListPodSandboxResponse items=1:*PodSandbox
PodSandbox id=1 metadata=2:PodSandboxMetadata state=3:int32 runtime_handler=7

ContainerMetadata name=1 attempt=2:uint32
ImageSpec image=1
KeyValue key=1 value=2
Mount container_path=1 host_path=2 readonly=3:bool propagation=5:int32 uidMappings=6:*IDMapping gidMappings=7:*IDMapping recursive_read_only=8:bool
Device container_path=1 host_path=2 permissions=3
ContainerConfig metadata=1:ContainerMetadata image=2:ImageSpec command=3:* args=4:* working_dir=5 envs=6:*KeyValue mounts=7:*Mount devices=8:*Device labels=9:map annotations=10:map log_path=11 stdin=12:bool stdin_once=13:bool tty=14:bool linux=15:LinuxContainerConfig
LinuxContainerConfig resources=1:LinuxContainerResources security_context=2:LinuxContainerSecurityContext
LinuxContainerResources cpu_period=1:int64 cpu_quota=2:int64 cpu_shares=3:int64 memory_limit_in_bytes=4:int64 oom_score_adj=5:int64 cpuset_cpus=6 cpuset_mems=7 unified=9:map memory_swap_limit_in_bytes=10:int64
LinuxContainerSecurityContext capabilities=1:Capability privileged=2:bool namespace_options=3:NamespaceOption run_as_user=5:Int64Value run_as_group=12:Int64Value run_as_username=6 readonly_rootfs=7:bool supplemental_groups=8:*int64 no_new_privs=11:bool masked_paths=13:* readonly_paths=14:* seccomp=15:SecurityProfile
Capability add_capabilities=1:* drop_capabilities=2:* add_ambient_capabilities=3:*
Int64Value value=1:int64
UInt64Value value=1:uint64
CreateContainerRequest pod_sandbox_id=1 config=2:ContainerConfig sandbox_config=3:PodSandboxConfig
CreateContainerResponse container_id=1
StartContainerRequest container_id=1
StartContainerResponse
StopContainerRequest container_id=1 timeout=2:int64
StopContainerResponse
RemoveContainerRequest container_id=1
RemoveContainerResponse
ContainerStatusRequest container_id=1 verbose=2:bool
ContainerStatusResponse status=1:ContainerStatus info=2:map
ContainerStatus id=1 metadata=2:ContainerMetadata state=3:int32 started_at=5:int64 finished_at=6:int64 exit_code=7:int32 reason=10 message=11 log_path=15 resources=16:ContainerResources
ContainerResources linux=1:LinuxContainerResources
UpdateContainerResourcesRequest container_id=1 linux=2:LinuxContainerResources
UpdateContainerResourcesResponse
ReopenContainerLogRequest container_id=1
ReopenContainerLogResponse
ExecSyncRequest container_id=1 cmd=2:* timeout=3:int64
ExecSyncResponse stdout=1:bytes stderr=2:bytes exit_code=3:int32
ExecRequest container_id=1 cmd=2:* tty=3:bool stdin=4:bool stdout=5:bool stderr=6:bool
ExecResponse url=1
AttachRequest container_id=1 stdin=2:bool tty=3:bool stdout=4:bool stderr=5:bool
AttachResponse url=1
PortForwardRequest pod_sandbox_id=1 port=2:*int32
PortForwardResponse url=1
ContainerStatsRequest container_id=1
ContainerStatsResponse stats=1:ContainerStats
ContainerStats cpu=2:CpuUsage memory=3:MemoryUsage
CpuUsage timestamp=1:int64 usage_core_nano_seconds=2:UInt64Value
MemoryUsage timestamp=1:int64 working_set_bytes=2:UInt64Value
"""

Field = descriptor_pb2.FieldDescriptorProto


def add_field(message, word):
    name, _, rest = word.partition("=")
    number, _, kind = rest.partition(":")
    field = message.field.add(name=name, number=int(number), label=Field.LABEL_OPTIONAL)
    if kind.startswith("*"):
        field.label, kind = Field.LABEL_REPEATED, kind[1:]
    if kind == "map":
        entry = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        nested = message.nested_type.add(name=entry)
        nested.options.map_entry = True
        add_field(nested, "key=1")
        add_field(nested, "value=2")
        field.label, field.type = Field.LABEL_REPEATED, Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{message.name}.{entry}"
    elif kind[:1].isupper():
        field.type, field.type_name = Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(Field, "TYPE_" + (kind or "string").upper())


def messages():
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package=PACKAGE, syntax="proto3")
    for line in MESSAGES.split("\n"):
        name, *words = line.split() or [""]
        if name:
            message = file.message_type.add(name=name)
            for word in words:
                add_field(message, word)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return lambda name: factory.GetPrototype(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


class WebSocket:
    """A client of RFC 6455, as far as the streaming server of a container runtime needs it."""

    def __init__(self, url, protocol):
        parts = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        path = parts.path + ("?" + parts.query if parts.query else "")
        lines = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket", "Connection: Upgrade",
                 f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Protocol: {protocol}",
                 f"Origin: http://{parts.netloc}", "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        self.file = self.socket.makefile("rb")
        status = self.file.readline().decode()
        while self.file.readline().strip():
            pass
        if " 101 " not in status:
            raise OSError(f"no websocket: {status.strip()}")

    def send(self, data):
        mask = os.urandom(4)
        length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0xFE]) + struct.pack(">H", len(data))
        self.socket.sendall(b"\x82" + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def frames(self):
        while head := self.file.read(2):
            length = head[1] & 0x7F
            if length > 125:
                length = int.from_bytes(self.file.read(2 if length == 126 else 8), "big")
            data, kind = self.file.read(length), head[0] & 0x0F
            if kind == 8:
                return
            if kind < 3:
                yield data


def follow(method, url, request, text):
    """The streams behind an answer: a channel's number is the first byte of each packet."""
    forward = method == "PortForward"
    if forward:
        url += "?" + urllib.parse.urlencode({"port": request.port[0]})
    web = WebSocket(url, "v4.channel.k8s.io")
    if text and not forward:
        web.send(b"\0" + text.encode())
    outputs = {0: sys.stdout, 1: sys.stdout, 2: sys.stderr} if forward else {1: sys.stdout, 2: sys.stderr}
    heard = 0
    try:
        for data in web.frames():
            channel, data = data[0], data[1:]
            if forward and heard < 2:
                # Each of the two streams begins with its port.
                heard += 1
                if heard == 2:
                    web.send(b"\0" + text.encode())
            elif channel == 3 and not forward:
                said = json.loads(data)
                causes = said.get("details", {}).get("causes", [])
                codes = [int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"]
                return 0 if said["status"] == "Success" else codes[0] if codes else 125
            elif channel in outputs:
                outputs[channel].write(data.decode())
                outputs[channel].flush()
                if forward or method == "Attach":
                    # It goes on; one answer is what was wanted.
                    if data.strip():
                        return 0
    except TimeoutError:
        return 124
    return 0


def main():
    method, request = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "{}"
    message = messages()
    channel = grpc.insecure_channel(SOCKET)
    call = channel.unary_unary(
        f"/{PACKAGE}.RuntimeService/{method}",
        request_serializer=lambda value: value.SerializeToString(),
        response_deserializer=message(method + "Response").FromString,
    )
    try:
        answer = call(json_format.Parse(request, message(method + "Request")()), timeout=300)
    except grpc.RpcError as error:
        print(f"error: {error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    if method in ("Exec", "Attach", "PortForward"):
        asked = json_format.Parse(request, message(method + "Request")())
        return follow(method, answer.url, asked, sys.argv[3] if len(sys.argv) > 3 else "")
    value = json_format.MessageToDict(answer, including_default_value_fields=True, preserving_proto_field_name=True)
    print(json.dumps(value))
    return 0


status = main()
sys.stdout.flush()
sys.stderr.flush()
os._exit(status)  # not by way of gRPC's threads, which take their time on a busy machine
