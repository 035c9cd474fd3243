"""llama-server's slots: what they do now, and texts of theirs that are saved, restored and erased."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from starlette.types import ASGIApp

from pacos.errors import FormatError
from pacos.server.call import Call
from pacos.server.dialects.llama_server import shapes
from pacos.server.fields import Fields, convert, read_json
from pacos.server.guard import read_body
from pacos.server.problem import RequestError
from pacos.server.residency import Resident
from pacos.server.slots import Slot, Slots
from pacos.server.stream import json_response

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # names that Windows keeps


class SlotState(msgspec.Struct):
    """A slot: how its latest answer was asked for, and how far that is."""

    id: int
    id_task: int
    n_ctx: int
    speculative: bool
    is_processing: bool
    params: dict[str, Any]
    next_token: dict[str, Any]


class FileName(Fields):
    """The file of a text, in the folder that the server was started with."""

    filename: str
    model: str | None = None
    cache_salt: str = ""


class Saved(msgspec.Struct, omit_defaults=True):
    """What an action did. Units: tokens, bytes, milliseconds."""

    id_slot: int
    filename: str | None = None
    n_saved: int | None = None
    n_written: int | None = None
    n_restored: int | None = None
    n_read: int | None = None
    n_erased: int | None = None
    timings: dict[str, float] | None = None


async def run(call: Call[None]) -> ASGIApp:
    """List the slots. Errors: RequestError 503 with `fail_on_no_slot` when none is free or sequences wait."""
    _check_shown(call)
    query = call.request.query_params
    resident = await call.resident(query.get("model"))
    now = resident.llm.engine.statistics()
    slots = Slots.of(resident).all
    if query.get("fail_on_no_slot") and (now.waiting or all(slot.running for slot in slots)):
        problem = f"no slot is free: {now.running} sequences run, {now.waiting} wait"
        raise RequestError(problem, status=503, code="server_busy")
    return json_response(call, [_state(slot, resident) for slot in slots])


def _state(slot: Slot, resident: Resident) -> SlotState:
    settings = shapes.generation_settings(dict(slot.options), resident.llm, resident.name)
    made = slot.running[-1].timings().generated_tokens if slot.running else 0
    left = settings["n_predict"] - made if settings["n_predict"] >= 0 else -1
    token = {"has_next_token": bool(slot.running), "has_new_line": False, "n_remain": left, "n_decoded": made}
    return SlotState(slot.id, slot.task, resident.llm.context_tokens, False, bool(slot.running), settings, token)


def _check_shown(call: Call[None]) -> None:
    if not call.options.slots:
        problem = "slots are not shown"
        raise RequestError(problem, status=501, code="unsupported", hint="start the server without --no-slots")


async def act(call: Call[None]) -> ASGIApp:
    """Save a slot's text to a file, restore it from one, or erase what is known of it."""
    _check_shown(call)
    query = call.request.query_params
    action = query.get("action")
    acts = {"save": _save, "restore": _restore, "erase": _erase}
    if action not in acts:
        hint = "use save, restore or erase"
        raise RequestError(f"action is {action!a:.40}", field="action", code="invalid_value", hint=hint)
    name = None if action == "erase" else convert(read_json(await read_body(call.request, call.options)), FileName)
    call.body_read = True
    resident = await call.resident(query.get("model") or (name.model if name is not None else None))
    slot = _slot(call, resident)
    path = None if name is None else _path(call, name.filename)
    began = time.perf_counter()
    salt = name.cache_salt if name is not None else ""
    work = acts[action](call, resident, slot, path or Path(), f"{call.owner}/{salt}" if call.owner else salt)
    try:
        found = await call.in_thread(work)
    except FormatError as error:  # not the model's file
        raise RequestError(error.message, field="filename", code="invalid_file", hint=error.hint) from None
    if path is not None:
        found.filename = path.name
        found.timings = {f"{action}_ms": round((time.perf_counter() - began) * 1000, 3)}
    return json_response(call, found)


def _slot(call: Call[None], resident: Resident) -> Slot:
    """The slot that a request names. Errors: RequestError 400 for none, 409 for one that is in use."""
    slots, text = Slots.of(resident).all, call.request.path_params["slot"]
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) >= len(slots):
        problem = f"there is no slot {text[:20]!a}"
        raise RequestError(problem, field="id_slot", code="invalid_value", hint=f"there are 0 to {len(slots) - 1}")
    slot = slots[int(text)]
    if slot.running:
        raise RequestError(f"slot {text} is in use", status=409, code="slot_busy", hint="wait for its answer")
    return slot


def _path(call: Call[None], name: str) -> Path:
    """Where a file lies; each API key has a folder of its own.

    Errors: RequestError 501 without a folder, 400 for a name that is none.
    """
    if not call.options.slot_save_path:
        problem = "texts of slots are not saved"
        raise RequestError(
            problem, status=501, code="unsupported", hint="start the server with --slot-save-path FOLDER"
        )
    if not _FILE.fullmatch(name) or name.endswith(".") or _DEVICES.fullmatch(name):
        hint = "use up to 100 letters, digits, and . _ - after the first"
        raise RequestError(f"filename is {name[:60]!a}", field="filename", code="invalid_value", hint=hint)
    folder = Path(call.options.slot_save_path).expanduser()
    if call.owner:
        folder /= f"key-{call.owner.encode().hex()[:64]}"
    return folder / name


def _save(call: Call[None], resident: Resident, slot: Slot, path: Path, salt: str) -> Callable[[], Saved]:
    if slot.owner != call.owner or slot.salt != salt or not slot.tokens:
        raise RequestError(f"slot {slot.id} holds no text", code="slot_empty", hint="ask for an answer with it first")

    def work() -> Saved:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = resident.llm.engine.texts.save(slot.tokens, salt, path)
        return Saved(slot.id, n_saved=found.computed, n_written=found.bytes)

    return work


def _restore(call: Call[None], resident: Resident, slot: Slot, path: Path, salt: str) -> Callable[[], Saved]:
    def work() -> Saved:
        found = resident.llm.engine.texts.restore(path, salt)
        slot.tokens, slot.salt, slot.owner = found.tokens, salt, call.owner
        slot.prompt = found.tokens.tobytes()
        return Saved(slot.id, n_restored=found.computed, n_read=found.bytes)

    return work


def _erase(call: Call[None], resident: Resident, slot: Slot, path: Path, salt: str) -> Callable[[], Saved]:
    tokens, keep = slot.tokens, Slots.of(resident).shared_tokens(slot)

    def work() -> Saved:
        if slot.owner != call.owner or not tokens:
            return Saved(slot.id, n_erased=0)
        erased = resident.llm.engine.texts.erase(tokens, slot.salt, keep)
        slot.tokens, slot.prompt = tokens[:0], b""
        return Saved(slot.id, n_erased=erased)

    return work
