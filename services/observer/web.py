"""The pages of one worker: /live, /checkouts/{id}, /metrics, /healthz, /readyz."""

import asyncio
import time
from typing import Any, Final
from urllib.parse import quote

import structlog
from aiohttp import ClientError, ClientTimeout, web
from prometheus_client import CONTENT_TYPE_LATEST

from services.observer.detail import checkout_view
from services.observer.looks import HEADERS
from services.observer.observer import Observer
from services.observer.overview import View, for_readers, merged
from services.observer.pages import checkout_page, live_page, message_page
from services.observer.placing import home_of
from services.observer.timeline import is_id

_PEER_S: Final = 2.0
_ROUTED: Final = "X-Observer-Routed"
"""A request that another worker passed on: whoever gets it answers it, so that none goes round in circles."""

log = structlog.get_logger("observer.web")


class Pages:
    """Serves what the observer knows; what another worker holds is asked of that one."""

    def __init__(self, observer: Observer) -> None:
        self._observer, self._url = observer, observer.settings.url
        router = observer.app.web.web_app.router
        router.add_get("/", _to_live)
        router.add_get("/live", self._live)
        router.add_get("/checkouts/{checkout_id}", self._checkout)
        router.add_get("/metrics", self._metrics)
        router.add_get("/healthz", self._healthz)
        router.add_get("/readyz", self._readyz)

    async def _live(self, request: web.Request) -> web.Response:
        if request.query.get("id", "").strip():
            raise web.HTTPFound(f"/checkouts/{quote(request.query['id'].strip(), safe='', errors='replace')}")
        if not _wants_json(request):
            return _html(live_page())
        own = self._observer.view()
        if request.query.get("scope") == "worker":
            return web.json_response(own, headers=HEADERS)
        others = {url: self._ask(url) for url in self._workers() - {self._url}}
        answers = dict(zip(others, await asyncio.gather(*others.values()), strict=True))
        view = merged([own, *filter(None, answers.values())], [url for url, answer in answers.items() if not answer])
        return web.json_response(for_readers(view, self._observer.settings.deadlines_us), headers=HEADERS)

    async def _ask(self, url: str) -> View | None:
        try:
            answer = await self._get(f"{url}/live", {"format": "json", "scope": "worker"}, {})
            return dict(await answer.json()) if answer.ok else None
        except (ClientError, TimeoutError, OSError, ValueError) as error:
            log.warning("another worker does not answer", url=url, reason=str(error))
            return None

    async def _get(self, url: str, query: dict[str, str], headers: dict[str, str]) -> Any:
        client, limit = self._observer.app.http_client, ClientTimeout(total=_PEER_S)
        answer = await client.get(url, params=query, headers=headers, timeout=limit)
        await answer.read()
        return answer

    def _workers(self) -> set[str]:
        held = self._observer.app.router.tables_metadata()
        return {url.rstrip("/") for url, topics in held.items() if any(topics.values())} | {self._url}

    async def _checkout(self, request: web.Request) -> web.Response:
        checkout_id = request.match_info["checkout_id"]
        if not is_id(checkout_id):
            return _says(
                request, 404, "Not found", "No checkout has such an id: it is 1 to 64 letters, digits or . _ : -"
            )
        owner = self._owner(checkout_id)
        if owner is None:
            return _says(request, 503, "Not yet", "No worker holds this checkout's partition at the moment; try again.")
        if owner != self._url and _ROUTED not in request.headers:
            return await self._passed_on(request, owner)
        timeline = self._observer.timeline(checkout_id)
        if timeline is None:
            return _says(request, 404, "Not found", f"The topics have said nothing about a checkout {checkout_id} yet.")
        partitions = self._observer.partitions
        place = {"url": self._url, "partition": home_of(checkout_id.encode(), partitions), "of": partitions}
        prefix, breaches = self._observer.settings.topic_prefix, self._observer.breach_views(checkout_id)
        view = checkout_view(timeline, breaches, prefix, place)
        return web.json_response(view, headers=HEADERS) if _wants_json(request) else _html(checkout_page(view))

    def _owner(self, checkout_id: str) -> str | None:
        """The worker that holds a checkout; None while none does."""
        # not Faust's `key_store`: that fails until its producer has heard of the table's topic
        topic, home = self._observer.table_topic, home_of(checkout_id.encode(), self._observer.partitions)
        held = self._observer.app.router.tables_metadata()
        return next((url.rstrip("/") for url, topics in held.items() if home in topics.get(topic, ())), None)

    async def _passed_on(self, request: web.Request, owner: str) -> web.Response:
        headers = {"Accept": request.headers.get("Accept", ""), _ROUTED: "1"}
        try:
            answer = await self._get(f"{owner}{request.path}", dict(request.query), headers)
        except (ClientError, TimeoutError, OSError):
            return _says(request, 503, "Not yet", f"The worker that holds this checkout, {owner}, does not answer.")
        kind = {"Content-Type": answer.headers.get("Content-Type", "text/plain")}
        return web.Response(body=await answer.read(), status=answer.status, headers=HEADERS | kind)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._observer.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _report({})

    async def _readyz(self, _request: web.Request) -> web.Response:
        """It can work: it holds partitions, or waits beside others that do, and knows all that was said."""
        faults: dict[str, str] = {}
        if not self._observer.app.tables.actives_ready:
            faults["table"] = "being read from its topic"
        elif self._observer.heard_us is None and self._observer.owned:
            faults["topics"] = "being read"
        return _report(faults)


async def _to_live(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/live")


def _wants_json(request: web.Request) -> bool:
    accept = request.headers.get("Accept", "")
    wanted = "application/json" in accept and "text/html" not in accept
    return request.query.get("format", "json" if wanted else "html") == "json"


def _html(page: str) -> web.Response:
    return web.Response(text=page, content_type="text/html", headers=HEADERS)


def _says(request: web.Request, status: int, title: str, sentence: str) -> web.Response:
    if _wants_json(request):
        return web.json_response({"error": sentence}, status=status, headers=HEADERS)
    page = message_page(title, sentence)
    return web.Response(text=page, status=status, content_type="text/html", headers=HEADERS)


def _report(faults: dict[str, str]) -> web.Response:
    body = {"ok": not faults, "faults": faults, "at": time.time()}
    return web.json_response(body, status=503 if faults else 200)
