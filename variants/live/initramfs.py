"""An initramfs as bytes: the kernel's `newc` cpio format, which may be concatenated."""

from collections.abc import Mapping


def entry(name: str, data: bytes, mode: int, inode: int) -> bytes:
    path = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + path
    return pad(head) + pad(data)


def pad(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def archive(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """The archive of `files`: name to contents and mode."""
    entries = [
        entry(name, data, mode, inode)
        for inode, (name, (data, mode)) in enumerate(files.items(), 1)
    ]
    return b"".join(entries) + entry("TRAILER!!!", b"", 0, 0)


def boot_image(agent: bytes, modules: Mapping[str, bytes], batch: str) -> bytes:
    """The system that runs one batch: the agent as init, the modules, the batch, a console."""
    files: dict[str, tuple[bytes, int]] = {
        "init": (agent, 0o100755),
        "dev": (b"", 0o040755),
        "batch": (batch.encode(), 0o100644),
    }
    files |= {name: (data, 0o100644) for name, data in modules.items()}
    return archive(files)
