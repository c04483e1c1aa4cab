"""What one session takes up: a lease, a model and, where it publishes, a room.

Owns the three from admission to the session's end, so that either all are held or none,
and each is given back once.  Knows nothing of messages or of text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from whisper_live.inference.model_registry import Model
from whisper_live.protocols.base import Hello
from whisper_live.server.access import Caller
from whisper_live.server.admission import Lease
from whisper_live.server.keepalive import Keepalive
from whisper_live.server.rooms import Publication
from whisper_live.server.services import Services
from whisper_live.server.socket import Socket, SocketClosed

__all__ = ["Place"]


class Place:
    """One session's; after ``take``, ``release`` or ``withdraw`` gives it back."""

    def __init__(
        self, socket: Socket, keepalive: Keepalive, services: Services
    ) -> None:
        self.publication: Publication | None = None  # where it speaks in a room
        self._socket = socket
        self._keepalive = keepalive
        self._services = services
        self._lease: Lease | None = None
        self._model: Model | None = None  # from ``take`` on

    @property
    def model(self) -> Model:
        """The model that is held."""
        assert self._model is not None, "a session has a model from the start"
        return self._model

    async def take(
        self, hello: Hello, caller: Caller, *, behind_s: Callable[[], float]
    ) -> None:
        """Take all that a session as asked for needs; the model may have to be loaded.

        ``behind_s`` is for ``Admission``.  Raises ``HandshakeError``, ``Overloaded``,
        ``EngineUnavailable`` or, where the client leaves meanwhile, ``SocketClosed``;
        nothing is held then.
        """
        services = self._services
        name = services.registry.choose(hello.model, hello.options.language)
        self._lease = services.admission.lease(caller, name, behind_s=behind_s)
        try:
            if hello.room:
                self.publication = services.rooms.claim(hello.room, caller)
            self._model = await self._hold(name)
        except BaseException:
            self.withdraw()
            raise

    def unpublish(self) -> None:
        """There is no more for the readers of its room; may come twice."""
        if self.publication is not None:
            self.publication.end()

    def release(self) -> None:
        """The session is over."""
        self._give_back(self._services.admission.release)

    def withdraw(self) -> None:
        """No session came of it: it says nothing about how long sessions last."""
        self._give_back(self._services.admission.withdraw)

    def _give_back(self, give_back: Callable[[Lease], None]) -> None:
        self.unpublish()
        if self._model is not None:
            self._services.registry.release(self._model)
        # Its ``behind_s`` leads to the connection, which has this.
        lease, self._lease = self._lease, None
        assert lease is not None, "it is given back once"
        give_back(lease)

    async def _hold(self, name: str) -> Model:
        """The model, which may have to be loaded; who leaves is not waited for."""
        holding = asyncio.create_task(self._services.registry.hold(name))
        gone = asyncio.create_task(self._socket.wait_closed())
        # Proxies cut what is still.
        keepalive = asyncio.create_task(self._keepalive.run())
        try:
            await asyncio.wait({holding, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not holding.done():
                raise SocketClosed
            return holding.result()
        finally:
            for task in (holding, gone, keepalive):
                task.cancel()  # has no effect on one that is done
