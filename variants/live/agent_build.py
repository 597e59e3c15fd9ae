"""The agent, a static program that runs schedules inside the guest system, from its source."""

from pathlib import Path
from typing import Final

from variants.live.artefacts import Store, execute, key_of, progress
from variants.live.kbuild import compiler

AGENT: Final = Path(__file__).parent / "agent"


def agent_key() -> str:
    return key_of(*(file.name + file.read_text() for file in sorted(AGENT.glob("*.[chS]"))))


def build_agent(store: Store, *flags: str) -> Path:
    """The folder of the agent.

    flags: more of the compiler's, such as -DCOMPARE_MEMORY (see agent/worker.c).
    """

    def make(folder: Path) -> None:
        progress("building the agent")
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-static", "-pthread", "-Wa,--noexecstack"]
        sources = sorted(AGENT.glob("*.[cS]"))
        execute(
            [*command, *flags, "-o", folder / "agent", *sources],
            store.log("build-agent"),
        )

    return store.artefact(f"agent-{key_of(agent_key(), compiler(), *flags)}", make)
