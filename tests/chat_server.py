"""A real OpenAI-compatible HTTP server on loopback that does as a test tells it."""

import asyncio
import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server does with one request.

    drop: break the connection in the middle of the body. body: sent for a completion, JSON-ready or bytes.
    tokens: (prompt, answer), or None.
    """

    text: str | None = '{"preferences": "likes tacos"}'
    status: int = 200
    finish: str = "stop"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False
    body: Any = None
    tokens: tuple[int, int] | None = (7, 3)


class Server:
    """Counts what reaches it.

    behave: (request number from 0, body) -> Reply. asked: the question of each request, in order. when: their times.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.behave: Callable[[int, dict[str, Any]], Reply] = lambda number, body: Reply()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.when: list[float] = []
        self.at_once = self.most_at_once = 0

    @property
    def asked(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.bodies]

    @property
    def times(self) -> Counter[str]:
        """How often each question was asked."""
        return Counter(self.asked)

    async def complete(self, request: Any) -> Any:
        from fastapi.responses import JSONResponse, Response, StreamingResponse

        body = await request.json()
        number = len(self.bodies)
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.when.append(time.monotonic())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            reply = self.behave(number, body)
            await asyncio.sleep(reply.delay)
        finally:
            self.at_once -= 1
        if reply.drop:

            async def half() -> AsyncIterator[bytes]:
                yield b'{"id": '
                raise ConnectionResetError

            return StreamingResponse(half(), headers={"content-length": "500", "content-type": "application/json"})
        if isinstance(reply.body, bytes):
            return Response(reply.body, reply.status, media_type="application/json")
        if reply.body is not None:
            return JSONResponse(reply.body, reply.status, reply.headers)
        if reply.status != 200:
            return JSONResponse({"error": {"message": reply.text}}, reply.status, reply.headers)
        content = {
            "id": f"n{number}",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [
                {"index": 0, "finish_reason": reply.finish, "message": {"role": "assistant", "content": reply.text}}
            ],
        }
        if reply.tokens is not None:
            prompt, answer = reply.tokens
            content["usage"] = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
        return JSONResponse(content)


@contextlib.contextmanager
def listening() -> Iterator[dict[str, Any]]:
    """One server in a thread: its `url`, and the `server` whose test is running."""
    import uvicorn
    from fastapi import FastAPI, Request

    state: dict[str, Any] = {}
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def completions(request: Request) -> Any:
        return await state["server"].complete(request)

    with socket.create_server(("127.0.0.1", 0)) as place:
        state["url"] = f"http://127.0.0.1:{place.getsockname()[1]}/v1"
        running = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=running.run, args=([place],), daemon=True)
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield state
        running.should_exit = True
        thread.join(20)
