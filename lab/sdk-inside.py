"""A machine's life by an SDK that knows Firecracker only: KERNEL DISK. Ends with an error if anything is not as told."""

import sys

# The two things for which it asks the world outside: its own address, and a Docker that it does not need here.
import docker
docker.from_env = lambda: None
from firecracker import microvm, MicroVM
microvm.get_public_ip = lambda: "127.0.0.1"

kernel, disk = sys.argv[1:]


def is_said(wanted, said):
    assert wanted in said, f"{wanted!r} is not in {said!r}"
    print(said)


machine = MicroVM(
    name="by-sdk", kernel_file=kernel, base_rootfs=disk, vcpu=2, memory=128,
    mmds_enabled=True, user_data="of the user", vsock_enabled=True,
)
is_said("created", machine.create())
state = lambda: machine._vmm.get_vmm_state(machine._microvm_id)
assert state() == "Running", state()
assert [known["name"] for known in MicroVM.list()] == ["by-sdk"]
config = machine.config()
assert config["machine-config"]["vcpu_count"] == 2, config
assert config["drives"][0]["drive_id"] == "rootfs", config
assert config["mmds-config"]["version"] == "V2", config
is_said("paused", machine.pause())
assert state() == "Paused", state()
is_said("resumed", machine.resume())
assert state() == "Running", state()
is_said("deleted", machine.delete())
assert MicroVM.list() == [], MicroVM.list()
