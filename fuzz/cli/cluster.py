"""Clusters: `--scheduler` and `--cluster`."""

import argparse
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from fuzz.campaign.elsewhere import PATIENCE

if TYPE_CHECKING:
    from distributed import Client

MOST: Final = 1 << 10


class ClusterError(Exception):
    """A cluster that cannot be had: one line."""


def add_arguments(parser: "argparse._ActionsContainer") -> None:
    """The options of commands that can use a cluster; give them a group in which one excludes the
    others."""
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="use the workers of a Dask cluster, as tcp://HOST:8786",
    )
    parser.add_argument(
        "--cluster", type=workers, metavar="N", help="use a Dask cluster of N workers, started here"
    )


def workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"expected 1 to {MOST} workers, not {text!r}")
    return int(text)


@contextmanager
def joined(options: argparse.Namespace) -> Iterator["Client | None"]:
    """A client of the cluster that `options` ask for, None if they ask for none. Raises
    ClusterError."""
    address, number = options.scheduler, options.cluster
    if address is None and number is None:
        yield None
        return
    try:
        from distributed import Client, LocalCluster
        from distributed.comm.addressing import resolve_address
    except ImportError:
        what = "--cluster" if address is None else "--scheduler"
        extra = "pip install 'kvm-eventdiff[cluster]'"
        raise ClusterError(f"{what} takes Dask, which is not installed: {extra}") from None
    # What matters of it is told in one line.
    logging.disable()
    if address is not None:
        try:
            resolve_address(address)
            client = Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(f"no scheduler at {address!r}: {error}") from None
        with client:
            yield client
        return
    with signals_kept_from_children():
        cluster = LocalCluster(
            n_workers=number,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
    with cluster, Client(cluster, timeout=PATIENCE, set_as_default=False) as client:
        yield client


@contextmanager
def signals_kept_from_children() -> Iterator[None]:
    """What a terminal sends to all of its processes is for this one. Threads and processes that
    begin in the meantime, and those that they start, do not get it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
