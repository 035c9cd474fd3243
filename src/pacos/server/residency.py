"""The models of a server: which there are, which are open, and which must go when memory is short."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pacos.errors import CapacityError, ModelNotFound, PacosError
from pacos.llm import LLM, load
from pacos.log import logger
from pacos.server.model_file import ModelSpec, file_bytes
from pacos.server.shelf import Shelf

DEFAULT_NAMES = ("", "default")
_QUEUE_SIZE = 256  # sequences that wait at a model, where its settings name no number
_ROOM_SECONDS = 30.0  # a request waits so long for other models to become idle


@dataclass(slots=True, eq=False, weakref_slot=True)
class Resident:
    """An open model: `users` requests use it now; `expires` is when it closes if none comes, None is never."""

    name: str
    llm: LLM
    spec: ModelSpec
    bytes: int
    users: int = 0
    last_used: float = field(default_factory=time.monotonic)
    opened: float = field(default_factory=time.time)
    expires: float | None = None


class Residency:
    """The models by name. Everything here runs on one event loop, opening and closing apart.

    `memory_bytes` is what all open models may take together (0: no bound): files, caches and working memory; there are
    `models_max` at most (0: no bound). Without `autoload` only who says so opens one.
    `keep_alive_seconds` is how long an unused model stays open; below 0 is for ever. `open_model` opens one, in a
    thread. `shelf` has the models of the store, which are opened when somebody asks for them.
    """

    def __init__(
        self,
        specs: Iterable[ModelSpec],
        *,
        memory_bytes: int = 0,
        models_max: int = 0,
        autoload: bool = True,
        keep_alive_seconds: float = -1,
        open_model: Callable[[ModelSpec], LLM] | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self.shelf = shelf
        self.specs: dict[str, ModelSpec] = {}
        self.open: dict[str, Resident] = {}
        self.loading: dict[str, float] = {}  # name -> when it began, monotonic
        self.failed: dict[str, str] = {}  # name -> why opening it failed when it was tried last
        self.ahead: tuple[str, ...] = ()
        self._tried: set[str] = set()  # of those, which were opened or could not be
        self.memory_bytes = memory_bytes
        self.models_max = models_max
        self.autoload = autoload
        self.asleep: set[str] = set()  # closed because nobody came, so that the next one opens them again
        self.keep_alive_seconds = keep_alive_seconds
        self._open_model = open_model or _open
        self._known_bytes: dict[str, int] = {}  # what a model took when it was open before
        self._openings: dict[str, asyncio.Task[Resident]] = {}
        self._changed = asyncio.Condition()
        self._opening_turn = asyncio.Lock()  # one at a time, so that room is counted once
        for spec in specs:
            self.add(spec)

    def add(self, spec: ModelSpec) -> None:
        """Make a model known; it takes the place of one of that name that is not open yet."""
        self.specs[spec.name] = spec

    def spec(self, name: str | None) -> ModelSpec:
        """The model of that name or alias; None, "" and "default" are the first. Errors: ModelNotFound."""
        if name is None or name in DEFAULT_NAMES:
            if not self.specs:
                raise ModelNotFound("no model is served", hint="start `pacos serve` with one")
            return next(iter(self.specs.values()))
        if name in self.specs:
            return self.specs[name]
        for spec in self.specs.values():
            if name in spec.aliases:
                return spec
        if self.shelf is not None and (stored := self.shelf.spec(name)) is not None:
            return stored
        known = [*self.specs, *(alias for spec in self.specs.values() for alias in spec.aliases)]
        near = difflib.get_close_matches(name[:200], known, 1)
        shown = ", ".join(list(self.specs)[:20])
        hint = f"did you mean {near[0]}?" if near else f"served: {shown or 'none'}"
        raise ModelNotFound(f"no model {name[:200]!a}", hint=hint)

    def awake(self, name: str) -> bool:
        """Whether a model is open, or is opened now, or was until nobody used it for too long."""
        return name in self.open or name in self._openings or name in self.asleep

    def listed(self) -> list[ModelSpec]:
        """Every model that may be asked for: those served, of the store, and what else is open. It reads the disk."""
        names = {name.lower() for spec in self.specs.values() for name in (spec.name, *spec.aliases)}
        stored = self.shelf.specs() if self.shelf is not None else []
        found = list(self.specs.values())
        for spec in (*stored, *(resident.spec for resident in list(self.open.values()))):  # bundled ones are not stored
            if spec.name.lower() not in names:
                names.add(spec.name.lower())
                found.append(spec)
        return found

    @asynccontextmanager
    async def use(self, name: str | None, *, keep_alive_seconds: float | None = None) -> AsyncIterator[Resident]:
        """The open model of that name; it stays open until the block ends, and `keep_alive_seconds` longer.

        Errors: ModelNotFound; CapacityError when no room can be made; what opening the model raises.
        """
        spec = self.spec(name)
        resident = await self._opened(spec)
        try:
            yield resident
        finally:
            resident.users -= 1
            resident.last_used = time.monotonic()
            self.keep(resident, spec.keep_alive_seconds if keep_alive_seconds is None else keep_alive_seconds)
            async with self._changed:
                self._changed.notify_all()

    def keep(self, resident: Resident, seconds: float | None) -> None:
        """Close an open model when it was not used for that long; below 0 is never, None the server's rule."""
        seconds = self.keep_alive_seconds if seconds is None else seconds
        resident.expires = None if seconds < 0 else time.monotonic() + seconds

    async def _opened(self, spec: ModelSpec) -> Resident:
        while True:
            resident = self.open.get(spec.name)
            if resident is not None:
                resident.users += 1
                return resident
            opening = self._openings.get(spec.name)
            if opening is None:
                opening = asyncio.ensure_future(self._load(spec))
                self._openings[spec.name] = opening
                opening.add_done_callback(lambda done: self._opening_ended(spec.name, done))
            await asyncio.shield(opening)  # a client that leaves does not stop it for the others

    def _opening_ended(self, name: str, done: asyncio.Task[Resident]) -> None:
        del self._openings[name]
        self.loading.pop(name, None)
        if done.cancelled():
            return
        problem = done.exception()  # whoever waits has it; nobody may be left
        if problem is None:
            self.failed.pop(name, None)
        else:
            self.failed[name] = str(problem) if isinstance(problem, PacosError) else "a fault inside the server"

    async def _load(self, spec: ModelSpec) -> Resident:
        self.loading[spec.name] = time.monotonic()
        async with self._opening_turn:
            need = self._known_bytes.get(spec.name) or file_bytes(spec)
            await self._make_room(spec.name, need)
            began = time.monotonic()
            llm = await asyncio.to_thread(self._open_model, spec)
            taken = self._known_bytes[spec.name] = file_bytes(spec) + llm.cache_bytes
            try:
                await self._make_room(spec.name, taken)  # how large the cache is shows only now
            except BaseException:
                await asyncio.to_thread(llm.close)
                raise
            resident = Resident(spec.name, llm, spec, taken)
            self.keep(resident, spec.keep_alive_seconds)
            self.open[spec.name] = resident
            self.asleep.discard(spec.name)
            logger(__name__).info("opened %s in %.2f s", spec.name, time.monotonic() - began)
        return resident

    async def _make_room(self, name: str, need: int) -> None:
        """Close unused models, the longest unused first, until one more of `need` bytes fits."""
        if self.memory_bytes and need > self.memory_bytes:
            raise CapacityError(
                f"model {name} takes {need / 1e9:.2f} GB, the server may use {self.memory_bytes / 1e9:.2f} GB",
                hint="raise --memory-limit, lower the model's --ctx-size or --parallel, or serve a smaller model",
            )
        deadline = time.monotonic() + _ROOM_SECONDS
        while not self._fits(need):
            idle = sorted((one for one in self.open.values() if not one.users), key=lambda one: one.last_used)
            if idle:
                await self.shut(idle[0].name)
                continue
            try:
                async with self._changed:
                    await asyncio.wait_for(self._changed.wait(), deadline - time.monotonic())
            except TimeoutError:
                busy = ", ".join(self.open)
                raise CapacityError(f"no room for model {name}: {busy} are in use", hint="try again later") from None

    def _fits(self, need: int) -> bool:
        if self.models_max and len(self.open) >= self.models_max:
            return False
        return not self.memory_bytes or sum(one.bytes for one in self.open.values()) + need <= self.memory_bytes

    async def shut(self, name: str) -> bool:
        """Close an open model that nobody uses; whether it was closed."""
        self.asleep.discard(name)
        resident = self.open.get(name)
        if resident is None or resident.users:
            return False
        del self.open[name]
        await asyncio.to_thread(resident.llm.close)
        logger(__name__).info("closed %s", name)
        return True

    async def shut_expired(self) -> None:
        """Close the models whose time is over."""
        now = time.monotonic()
        for resident in list(self.open.values()):
            if resident.expires is not None and resident.expires <= now and await self.shut(resident.name):
                self.asleep.add(resident.name)

    async def open_ahead(self, names: Iterable[str]) -> None:
        """Open models before anybody asks. One that cannot be opened is told; the others are opened.

        Errors: when none could be opened, what the first one's opening raised.
        """
        failures: list[Exception] = []
        self.ahead = tuple(names)
        for name in self.ahead:
            try:
                async with self.use(name):
                    pass
            except Exception as error:  # noqa: BLE001 - the others can be served still
                failures.append(error)
                logger(__name__).error("model %s cannot be opened: %s", name, error)
            self._tried.add(name)
        if failures and len(failures) == len(self.ahead):
            raise failures[0]

    def progress(self) -> dict[str, Any]:
        """How far opening ahead has come: how many of how many, and which is being opened since when."""
        now = time.monotonic()
        return {
            "ready": len(self._tried),
            "of": len(self.ahead),
            "loading": [{"model": name, "seconds": round(now - began, 3)} for name, began in self.loading.items()],
        }

    async def close(self) -> None:
        """Close every model."""
        for opening in list(self._openings.values()):
            opening.cancel()
        await asyncio.gather(*self._openings.values(), return_exceptions=True)
        for resident in list(self.open.values()):
            del self.open[resident.name]
            await asyncio.to_thread(resident.llm.close)


def _open(spec: ModelSpec) -> LLM:
    """Open a model, and compile its chat template where it has one, so that no request waits for that."""
    options = replace(spec.options, queue_size=spec.options.queue_size or _QUEUE_SIZE)
    llm = load(spec.path, options=options, chat_template=spec.chat_template)
    try:
        if llm.has_chat_template:
            llm.template  # noqa: B018 - compiled at first use
    except PacosError as error:
        logger(__name__).warning("%s: %s; it can only continue texts", spec.name, error)
    for text in llm.warnings:
        logger(__name__).warning("%s: %s", spec.name, text)
    return llm
