"""``/docs`` and ``/openapi.json``: the schema, shown by Swagger UI from this machine, without a content network.

The files of Swagger UI come from the package ``drf-spectacular-sidecar``, of which only they are used.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse, Response

PACKAGE = "drf_spectacular_sidecar"
FILES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "favicon-32x32.png": "image/png"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>genrm_rl judge: schema</title>
<link rel="stylesheet" href="docs/swagger-ui.css"><link rel="icon" href="docs/favicon-32x32.png">
</head>
<body>
<div id="schema"></div>
<script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script>
</body>
</html>
"""
START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#schema", deepLinking: true, validatorUrl: null});\n'

pages = APIRouter(include_in_schema=False)


@pages.get("/docs")
async def docs() -> HTMLResponse:
    """The page; its calls need the token that is typed into its `Authorize`."""
    return HTMLResponse(PAGE, headers=HEADERS)


@pages.get("/docs/{name}")
async def docs_file(name: str) -> Response:
    """One of the page's files."""
    if name == "start.js":
        return Response(START, media_type="text/javascript", headers=HEADERS)
    if name not in FILES:
        raise HTTPException(404, f"/docs has no file {name}")
    return FileResponse(_folder() / name, media_type=FILES[name], headers=HEADERS)


def with_token(api: FastAPI, judge_words: Callable[[], str]) -> None:
    """Say in the schema of ``api`` that its calls take a bearer token, and ``judge_words`` about the judge of now."""

    def schema() -> dict[str, Any]:
        if api.openapi_schema is None:
            found = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
            found.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            found["security"] = [{"token": []}]
            api.openapi_schema = found
        described = {"description": f"{api.description} {judge_words()}".strip()}
        return api.openapi_schema | {"info": api.openapi_schema["info"] | described}

    api.openapi = schema  # type: ignore[method-assign]


@cache
def _folder() -> Path:
    """Where the files lie. The package is found and not imported: that would import Django."""
    found = importlib.util.find_spec(PACKAGE)
    assert found is not None and found.submodule_search_locations is not None, PACKAGE
    return Path(next(iter(found.submodule_search_locations))) / "static" / PACKAGE / "swagger-ui-dist"
