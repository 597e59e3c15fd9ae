"""The machine's input: one schedule step.

A `Step` is one thing that happens to one vCPU: an instruction, an ICR write or a host ioctl.
The vocabulary below is the whole alphabet; `fuzz.schedule` writes it as YAML and as bytes.
"""

from typing import Final, Literal, NamedTuple, get_args

Vendor = Literal["svm", "vmx"]
VENDORS: Final[tuple[Vendor, ...]] = get_args(Vendor)

MIN_VCPUS: Final = 2
MAX_VCPUS: Final = 4

TO_SELF: Final = -1
TO_ALL: Final = -2
TO_OTHERS: Final = -3
SHORTHANDS: Final = {"self": TO_SELF, "all": TO_ALL, "others": TO_OTHERS}

ICR_MODES: Final = ("init", "init-deassert", "sipi", "nmi", "smi", "fixed")
ACTIVITIES: Final = ("active", "hlt", "wait-for-sipi")
INTERCEPTS: Final = ("init", "nmi", "intr", "smi")
EXITING: Final = ("nmi", "intr")
MSRS: Final = ("ia32-vmx-misc",)
MP_STATES: Final = ("RUNNABLE", "UNINITIALIZED", "INIT_RECEIVED", "HALTED", "SIPI_RECEIVED")

GUEST_OPS: Final = ("icr", "nop", "hlt", "sti", "cli", "rsm")
VMX_OPS: Final = ("vmxon", "vmxoff", "vmlaunch", "vmcall", "rdmsr")
SVM_OPS: Final = ("vmrun", "vmmcall", "clgi", "stgi")
IOCTL_OPS: Final = (
    "smi",
    "nmi",
    "get-mp-state",
    "set-mp-state",
    "get-vcpu-events",
    "save-restore",
)
"""What the host does, through the ioctls of the same names."""
OPS: Final = GUEST_OPS + VMX_OPS + SVM_OPS + IOCTL_OPS


class Step(NamedTuple):
    """One step of a schedule.

    op: a word of `OPS`.
    on: the vCPU that acts; for `icr` the sender, for host `smi` and `nmi` the target.
    to: `icr` only: a vCPU number, `TO_SELF`, `TO_ALL` or `TO_OTHERS`.
    mode: the one word an op takes: the delivery mode of `icr`, the activity state of `vmlaunch`,
        the MSR of `rdmsr`, the state of `set-mp-state`.
    vector: `icr` only: the ICR's vector field, 0 to 255.
    at: `icr` only: a name of `points.POINTS`, or "" for an ordinary write.
    controls: what L1 intercepts: `INTERCEPTS` for `vmrun`, `EXITING` for `vmlaunch`, in that order.
    """

    op: str
    on: int
    to: int = 0
    mode: str = ""
    vector: int = 0
    at: str = ""
    controls: tuple[str, ...] = ()


def ops_of(vendor: Vendor) -> tuple[str, ...]:
    """The ops a schedule for `vendor` may use."""
    return GUEST_OPS + (VMX_OPS if vendor == "vmx" else SVM_OPS) + IOCTL_OPS


def targets(step: Step, vcpus: int) -> tuple[int, ...]:
    """The vCPUs an `icr` step's write is delivered to, in delivery order."""
    if step.to >= 0:
        return (step.to,)
    if step.to == TO_SELF:
        return (step.on,)
    everyone = range(vcpus)
    return tuple(n for n in everyone if step.to == TO_ALL or n != step.on)
