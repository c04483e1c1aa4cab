"""What the HTTP port answers, as an OpenAPI document and as a page for people.

Owns the words about each path; what a form's fields mean is ``openai_rest``'s to say.
Which paths there are is the port's, and a test holds the two together.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from whisper_live import __version__
from whisper_live.protocols.openai_rest import FIELDS, FORMATS

__all__ = ["document", "page"]

_UPLOADS = {
    "/v1/audio/transcriptions": "A file becomes text.",
    "/v1/audio/translations": "A file becomes English text.",
}
_ERRORS = {
    "400": "A field that makes no sense, or a body that is no form.",
    "401": "No key, or one that is not known.",
    "403": "A page of a foreign origin.",
    "408": "The body came too slowly.",
    "413": "Too large, or too long.",
    "415": "No format that is known, or a body that is no form or compressed.",
    "422": "A known format, but damaged, empty or without audio.",
    "429": "Too much is asked with this key; Retry-After says when to come back.",
    "503": "The server has no room or is stopping; Retry-After, if it is known.",
}
_PAGES = {
    "/": (
        "A page to speak to and to read; a WebSocket speaks WhisperLive.",
        "text/html",
    ),
    "/page/settings.json": ("What that page offers to choose.", "application/json"),
    "/page/{name}": ("What the pages load.", "*/*"),
    "/room/{name}": ("A page with what is said in a room.", "text/html"),
    "/room/{name}/events": ("The same as Server-Sent Events.", "text/event-stream"),
    "/room/{name}.vtt": ("The same as live WebVTT.", "text/vtt"),
    "/healthz": ("The process serves.", "text/plain"),
    "/readyz": ("The model is loaded and the engine answers; else 503.", "text/plain"),
    "/readyz/place": ("A new session would be let in; else 404 or 503.", "text/plain"),
    "/metrics": ("Prometheus' metrics.", "text/plain"),
    "/docs": ("This page.", "text/html"),
    "/openapi.json": ("This page as an OpenAPI document.", "application/json"),
}
_CONTENT = {
    "application/json": ("json", "verbose_json"),
    "text/plain": ("text",),
    "application/x-subrip": ("srt",),
    "text/vtt": ("vtt",),
    "application/jsonl": ("jsonl",),
    "text/event-stream": (),
}
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}


def document() -> dict[str, Any]:
    """The whole of it, in OpenAPI 3.1."""
    assert {name for names in _CONTENT.values() for name in names} == set(FORMATS)
    paths: dict[str, Any] = {
        path: {"post": _upload(summary)} for path, summary in _UPLOADS.items()
    }
    realtime = "A WebSocket of OpenAI's Realtime API, for transcription."
    paths["/v1/realtime"] = {
        "get": {
            "summary": realtime,
            "security": [{"key": []}],
            "responses": {
                "101": {"description": realtime},
                "426": _failure("No upgrade to a WebSocket was asked for."),
            },
        }
    }
    paths["/v1/realtime/client_secrets"] = {
        "post": {
            "summary": "A key for a page: it opens a realtime session, for a while.",
            "security": [{"key": []}],
            "responses": {"200": {"description": "The key and its session."}}
            | {each: _failure(_ERRORS[each]) for each in ("400", "401", "408", "429")},
        }
    }
    paths["/v1/models"] = {"get": _get("The models, the main one first.")}
    paths["/v1/models/{name}"] = {
        "get": _get("One of them; any other name stands for the main one.")
        | {"parameters": [_NAME]}
    }
    for path, (summary, kind) in _PAGES.items():
        paths[path] = {"get": _get(summary, kind)}
        if "{name}" in path:
            paths[path]["get"]["parameters"] = [_NAME]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Whisper Live", "version": __version__},
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _error_schema()},
        },
    }


def _upload(summary: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "a recording, in any usual format of audio or video",
        }
    }
    for field in FIELDS:
        one: dict[str, Any] = {"type": field.type}
        if field.choices:
            one["enum"] = list(field.choices)
        is_list = field.name.endswith("[]")
        properties[field.name] = {"type": "array", "items": one} if is_list else one
        properties[field.name]["description"] = field.help
    form = {"type": "object", "properties": properties, "required": ["file"]}
    return {
        "summary": summary,
        "security": [{"key": []}],
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}},
        },
        "responses": {
            "200": {"description": "The text.", "content": {k: {} for k in _CONTENT}},
            "202": {"description": "It was taken in; the text comes to webhook_url."},
            **{status: _failure(why) for status, why in _ERRORS.items()},
        },
    }


def _get(summary: str, kind: str = "application/json") -> dict[str, Any]:
    answer = {"description": summary, "content": {kind: {}}}
    return {"summary": summary, "responses": {"200": answer}}


def _failure(why: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": why, "content": {"application/json": {"schema": schema}}}


def _error_schema() -> dict[str, Any]:
    text = {"type": ["string", "null"]}
    error = {name: text for name in ("message", "type", "param", "code")}
    return {
        "type": "object",
        "properties": {"error": {"type": "object", "properties": error}},
    }


# ------------------------------------------------------------------------- the page

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}"
    "td,th{border:1px solid #999;padding:.2em .6em;text-align:left}"
    "code{font-size:.95em}"
)


def page() -> str:
    """The same for people: no script, and nothing from elsewhere."""
    known = document()
    title = f"{known['info']['title']} {known['info']['version']}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1>"
        '<p>As a document: <a href="openapi.json">openapi.json</a>. '
        "A WebSocket at any other path speaks WhisperLive's protocol.</p>"
        + "".join(_sections(known["paths"]))
        + "</html>\n"
    )


def _sections(paths: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for path, methods in paths.items():
        for method, about in methods.items():
            summary = html.escape(about["summary"])
            yield f"<h2><code>{method.upper()} {path}</code></h2><p>{summary}</p>"
            if "requestBody" in about:
                content = about["requestBody"]["content"]["multipart/form-data"]
                fields = content["schema"]["properties"]
                yield _table(
                    ("field", "what it does"), [_row(*f) for f in fields.items()]
                )
                statuses = about["responses"].items()
                rows = [(status, said["description"]) for status, said in statuses]
                yield _table(("status", "why"), rows)


def _row(name: str, schema: Mapping[str, Any]) -> tuple[str, str]:
    choices = schema.get("items", schema).get("enum", ())
    said = f" ({', '.join(choices)})" if choices else ""
    return name, schema["description"] + said


def _table(heads: Sequence[str], rows: Sequence[tuple[str, str]]) -> str:
    head = "".join(f"<th>{each}</th>" for each in heads)
    body = "".join(
        f"<tr><td><code>{html.escape(name)}</code></td>"
        f"<td>{html.escape(said)}</td></tr>"
        for name, said in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
