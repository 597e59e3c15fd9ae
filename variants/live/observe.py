"""From the agent's raw lines to the observations of docs/schedules.md."""

from collections.abc import Mapping
from typing import Any, Final

from variants.live.protocol import ACTIVITIES, HOST_STEPS, MP_STATES, Ended, Raw, Schedule

Observation = dict[str, Any]

RAN: Final = {"1": "blocked", "2": "busy", "3": "shutdown", "4": "error"}
DEAD: Final = {"1": "shutdown", "2": "error"}
PORTS: Final = {0x91: "l1", 0x92: "l1", 0x93: "l1", 0x94: "l2", 0x95: "smm"}
BOOT: Final = 0x96
BROKE_OFF: Final = "live run: "
"""How `warn` begins where the run broke off: no function of KVM has such a name."""
BSP_RESET: Final = 0xFFFF
GUEST_MODE: Final = 1
GIF_SET: Final = 0x100
VMX_EXITS: Final = {
    0: "EXCEPTION_NMI",
    1: "EXTERNAL_INTERRUPT",
    2: "TRIPLE_FAULT",
    3: "INIT_SIGNAL",
    4: "SIPI_SIGNAL",
    12: "HLT",
    18: "VMCALL",
    33: "INVALID_STATE",
}
SVM_EXITS: Final = {
    0x60: "VMEXIT_INTR",
    0x61: "VMEXIT_NMI",
    0x62: "VMEXIT_SMI",
    0x63: "VMEXIT_INIT",
    0x78: "VMEXIT_HLT",
    0x7F: "VMEXIT_SHUTDOWN",
    0x81: "VMEXIT_VMMCALL",
    0xFFFFFFFF: "VMEXIT_INVALID",
}


def trace(schedule: Schedule, ended: Ended) -> list[Observation]:
    """The observations of one schedule; it ends with outcome `error` where the run broke off."""
    vmx = schedule["vendor"] == "vmx"
    steps = [(*step.items(),)[0] for step in schedule["steps"]]
    seen = [
        observation(number, op, args, raw, vmx)
        for number, ((op, args), raw) in enumerate(zip(steps, ended.lines, strict=False))
    ]
    if len(seen) < len(steps):
        op, args = steps[len(seen)]
        seen.append(broken(len(seen), acting(op, args), ended.word or "lost"))
    return seen


def why_broken(warn: str | None) -> str:
    """Why a run broke off, from the `warn` of its last observation; "" if it did not."""
    return warn.removeprefix(BROKE_OFF) if warn and warn.startswith(BROKE_OFF) else ""


def acting(op: str, args: Mapping[Any, Any]) -> int:
    """The vCPU that a step is a step of."""
    key: Any = "from" if op == "icr" else "to" if op in ("smi", "nmi") else "on"
    return int(args[key])


def outcome_of(op: str, raw: Raw) -> str:
    if op in HOST_STEPS:
        return DEAD.get(raw["dead"], "ioctl") if op == "save-restore" else "ioctl"
    if raw["ran"] == "-1":
        return DEAD[raw["dead"]]
    if raw["ran"] != "0":
        return RAN[raw["ran"]]
    if int(raw["port"]) == BOOT:
        return "bsp-reset" if int(raw["boot"]) == BSP_RESET else "sipi"
    return PORTS.get(int(raw["port"]), "error")


def took(entry: str) -> str:
    value = int(entry, 16)
    if value & 0x10000:
        return f"rdmsr:{value & 0xFFFF:#x}"
    return "nmi" if value & 0x100 else f"fixed:{value:#04x}"


def observation(number: int, op: str, args: Mapping[Any, Any], raw: Raw, vmx: bool) -> Observation:
    """One step's observation: exactly the fields of the design, in its order."""
    outcome = outcome_of(op, raw)
    flags = int(raw["flags"])
    taken = [took(entry) for entry in raw["taken"].split(",") if entry]
    mp = int(raw["mp"])
    host = op in HOST_STEPS
    asked = op in ("get-mp-state", "set-mp-state")
    return {
        "step": number,
        "on": acting(op, args),
        "outcome": outcome,
        "executed": outcome == "ioctl" if host else raw["executed"] == "1" and raw["ran"] != "-1",
        "vector": int(raw["boot"]) >> 8 if outcome == "sipi" else None,
        "nested_exit": nested_exit(raw["exit"], vmx) if "exit" in raw else None,
        "guest_mode": bool(flags & GUEST_MODE),
        "gif": None if vmx else bool(flags & GIF_SET),
        "vmxon": raw["vmxon"] == "1" if vmx else None,
        "smm": raw["smm"] == "1",
        "latched_init": None if raw["latched"] == "-1" else raw["latched"] == "1",
        "mp_state": (MP_STATES[mp] if mp >= 0 else "EINVAL") if asked else None,
        "taken": taken,
        "woke": raw["woke"] == "1",
        "warn": None if raw["warn"] == "-" else raw["warn"],
    }


def nested_exit(text: str, vmx: bool) -> dict[str, Any]:
    reason, qualification, activity = text.split(",")
    number = int(reason, 16)
    if not vmx:
        name = SVM_EXITS.get(number, f"VMEXIT_{number:#x}")
        return {"reason": name, "qualification": int(qualification, 16)}
    number &= 0xFFFF
    return {
        "reason": VMX_EXITS.get(number, f"EXIT_{number}"),
        "qualification": int(qualification, 16),
        "activity": ACTIVITIES[int(activity)],
    }


def broken(number: int, on: int, why: str) -> Observation:
    """The last observation of a run that broke off: the agent died or hung, or its system did."""
    return {
        "step": number,
        "on": on,
        "outcome": "error",
        "executed": False,
        "vector": None,
        "nested_exit": None,
        "guest_mode": False,
        "gif": None,
        "vmxon": None,
        "smm": False,
        "latched_init": None,
        "mp_state": None,
        "taken": [],
        "woke": False,
        "warn": BROKE_OFF + why,
    }
