"""Where processes that torchrun has started meet: its key-value store, which outlives a restart of the processes.

After a restart a plain process group may take addresses of a dead attempt for its own, and wait for ever. So rank 0
names each attempt, and all processes meet under that name; torchrun's count of restarts is none, for on two machines it
may differ. Errors are said by the first process that has one, and those that no restart mends are kept: the processes
of a later attempt end as the first did.
"""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from functools import cache
from threading import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

SOON = timedelta(seconds=20)  # for the store, which is there before the processes
PATIENCE = timedelta(minutes=30)  # for another process, which may be drawing or writing
FINAL = (2, 4, 5)  # exit codes that a restart would meet again: usage, a checkpoint, divergence
GRACE = 3.0  # seconds in which the process that failed may say why, before one that lost it does
LOOK = 0.02  # seconds between looks for who has come


def launched() -> bool:
    """Tell whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """Return this process's number among all."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Return its number on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world() -> int:
    """Return the number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@cache
def store() -> Store:
    """Return torchrun's store, as this run of it sees it."""
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    serves = rank() == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    found = TCPStore(host, port, is_master=serves, timeout=SOON, wait_for_workers=False, multi_tenant=serves)
    return PrefixStore(f"genctl/{os.environ['TORCHELASTIC_RUN_ID']}", found)


def follows() -> bool:
    """Tell whether another process of this command speaks and writes for this one."""
    return launched() and rank() > 0


def read(key: str) -> str | None:
    """Return what was left under a key, None if nothing."""
    return store().get(key).decode() if store().check([key]) else None


@cache
def attempt() -> str:
    """Return the name of this attempt, once all processes of it have heard it.

    Each process leaves a word of its own, to which rank 0 answers: what an earlier attempt has left is no answer.
    """
    mine = secrets.token_hex(8)
    if rank():
        store().set(f"here/{rank()}", mine)
        store().wait([f"answer/{mine}"], PATIENCE)
        name = store().get(f"answer/{mine}").decode()
        store().set(f"ready/{name}/{rank()}", "")
        return name
    waiting = set(range(1, world()))
    while waiting:
        for other in tuple(waiting):
            word = read(f"here/{other}")
            if word is not None:
                store().set(f"answer/{word}", mine)
        waiting -= {other for other in waiting if store().check([f"ready/{mine}/{other}"])}
        Event().wait(LOOK if waiting else 0)
    return mine


def own_store() -> Store:
    """Return a store of this attempt alone."""
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    return PrefixStore(attempt(), store())


def in_turn(what: str) -> None:
    """Wait until the first process of this machine has done something."""
    store().wait([_done(what)], PATIENCE)


def go_on(what: str) -> None:
    """Let the others of this machine do it too."""
    store().set(_done(what), "")


def _done(what: str) -> str:
    return f"{what}/{attempt()}/{os.environ.get('GROUP_RANK', '0')}"


def ended() -> int | None:
    """Return the exit code with which an earlier attempt ended for good, None where none did."""
    code = read("ended")
    return None if code is None else int(code)


def speaks(code: int) -> bool:
    """Tell whether this process is to say why the command fails; the first that asks is, once an attempt."""
    count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        if code in FINAL:
            store().set("ended", str(code))
        return store().add(f"said/{count}", 1) == 1
    except RuntimeError:  # torchrun itself is gone
        return not follows()


def begun() -> str | None:
    """Return the run's folder that an earlier attempt has begun, None at the first."""
    return read("folder")


def begin(folder: str) -> None:
    """Keep the run's folder, in which a later attempt goes on."""
    store().set("folder", folder)
