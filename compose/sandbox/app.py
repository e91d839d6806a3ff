"""The aiohttp application: the routes, and the one place where exceptions become answers."""

import logging

from aiohttp import web

from compose.sandbox import errors
from compose.sandbox.errors import BadRequestError
from compose.sandbox.faulty_http import response
from compose.sandbox.group_commit import LedgerUnavailableError
from compose.sandbox.handlers import Handler, routes
from compose.sandbox.idempotency import reply
from compose.sandbox.model import Answer
from compose.sandbox.provider import PROVIDER, Provider
from compose.sandbox.requests import MAX_BODY_BYTES

log = logging.getLogger("compose.sandbox")


def make_app(provider: Provider) -> web.Application:
    """The application that serves the contract for one provider."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[exceptions_become_answers])
    app[PROVIDER] = provider
    app.add_routes(routes())
    return app


@web.middleware
async def exceptions_become_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error as JSON in the contract's shape; a bug as a 500 whose traceback stays in the log."""
    try:
        return await handler(request)
    except BadRequestError as error:
        return response(reply(error.answer))
    except LedgerUnavailableError:
        return response(reply(errors.provider_failed(503)))
    except (web.HTTPException, web.RequestPayloadError) as error:
        return response(reply(_protocol_error(error)))
    except ConnectionError:
        raise  # the client left while it was sending
    except Exception:
        log.exception("unexpected error method=%s", request.method)
        return response(reply(errors.provider_failed(500)))


def _protocol_error(error: web.HTTPException | web.RequestPayloadError) -> Answer:
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        message = f"The body is larger than {MAX_BODY_BYTES // 1024} KiB."
        return errors.invalid_request("body_too_large", message)
    if isinstance(error, web.HTTPException):
        return errors.invalid_request("no_such_route", f"{error.reason}.", status=error.status)
    return errors.invalid_request("body_invalid", "The body could not be read as its headers announce it.")
