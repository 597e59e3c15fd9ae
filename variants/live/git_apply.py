"""`git apply` in a folder that is no repository: the parser and patcher of users' diffs."""

import os
import re
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from variants.live.emulator import LiveError

CREATED: Final = re.compile(r"^ create (?:mode \d+ )?(.*)$", re.MULTILINE)
ODD_MODE: Final = re.compile(r"^ (?:create mode|mode change \d+ =>) (?!100)\d+ (.*)$", re.MULTILINE)
RENAME_OR_COPY: Final = re.compile(r"^ (rename|copy) ", re.MULTILINE)
NO_DIFF: Final = ("No valid patches in input", "unrecognized input")
# A link that a diff makes would be a plain file, so nothing can be written through it.
SETTINGS: Final = ("-c", "core.symlinks=false", "-c", "core.autocrlf=false")


class Refused(Exception):
    """What git said when it could not make sense of a diff, or could not apply it."""


class Change(NamedTuple):
    """A diff's part for one file. old: what it starts from, as `new` unless renamed or copied.

    created: there is no file before. moved: `old` is gone afterwards. odd: the file becomes a
    symbolic link or a submodule.
    """

    old: str
    new: str
    created: bool
    moved: bool
    odd: bool


def git_apply(tree: Path, diff: str, *options: str) -> str:
    """What `git apply` prints for `diff` in the folder `tree`.

    No repository around `tree` and no setting of the user's is looked at. Raises Refused, and
    LiveError if there is no git.
    """
    done = git(tree, "apply", "--whitespace=nowarn", *options, given=diff)
    if done.returncode:
        raise Refused(done.stderr.decode(errors="replace"))
    return done.stdout.decode(errors="surrogateescape")


def git_diff(before: Path, after: Path) -> str:
    """The diff between two folders `a` and `b` that are side by side; "" if they are equal."""
    options = ("--no-index", "--binary", "--find-renames", "--no-ext-diff", "--no-prefix")
    done = git(before.parent, "diff", *options, before.name, after.name)
    if done.returncode > 1:
        raise LiveError(f"git diff: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="surrogateescape")


def git(folder: Path, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[bytes]":
    """Run git in `folder`, without the user's settings or a repository around."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {
        "LC_ALL": "C",
        "GIT_CEILING_DIRECTORIES": str(folder.resolve().parent),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    try:
        return subprocess.run(
            ["git", *SETTINGS, *arguments],
            input=given.encode(errors="surrogateescape"),
            capture_output=True,
            check=False,
            cwd=folder,
            env=environment,
        )
    except FileNotFoundError:
        raise LiveError("git missing: apt-get install git") from None


def changes(tree: Path, diff: str, *options: str) -> list[Change]:
    """What `diff` is about, with the names that `options` (-p, --directory) give; [] for no diff.

    Raises Refused for a broken diff, or one whose names do not do or do not fit the options.
    """
    try:
        new = named(git_apply(tree, diff, *options, "--numstat", "-z"))
        old = named(git_apply(tree, diff, *options, "--numstat", "-z", "--reverse"))
        summary = git_apply(tree, diff, *options, "--summary")
    except Refused as refused:
        if any(words in str(refused) for words in NO_DIFF):
            return []
        raise
    for name in new + old:
        if not name.isprintable():
            raise Refused(f"error: a file is named {name!r}")
    created, odd = set(CREATED.findall(summary)), set(ODD_MODE.findall(summary))
    pairs = list(zip(reversed(old), new, strict=True))  # reversed, a diff is listed from its end
    two_names = [pair for pair in pairs if pair[0] != pair[1]]
    kinds = RENAME_OR_COPY.findall(summary)
    if len(kinds) != len(two_names):
        raise Refused("error: files with two names")  # a/FILE and b/FILE: nothing is stripped
    moved = {pair for pair, kind in zip(two_names, kinds, strict=True) if kind == "rename"}
    return [
        Change(before, after, after in created, (before, after) in moved, after in odd)
        for before, after in pairs
    ]


def named(numstat: str) -> list[str]:
    """The file names that `--numstat -z` lists."""
    return [entry.split("\t", 2)[2] for entry in numstat.split("\0")[:-1]]
