"""Generator of the OpenAPI document and of the table of API operations in docs/api.md.

The bridge ships the document. Run this after an operation has changed:

    python -m tests.support.api_table
"""

from __future__ import annotations

import ast
import inspect
import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from bridge import __version__
from bridge.admin import shapes, views
from bridge.admin.operations import OPERATIONS, Operation
from bridge.admin.shapes import Trouble

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "api.md"
DOCUMENTS = {ROOT / "docs" / "openapi.json": 1, ROOT / "bridge" / "admin" / "openapi.json": None}
"""The copy for readers of the documentation, and the one that the API serves to programs, with
their indentation."""
BEGIN, END = "<!-- operations -->", "<!-- end of operations -->"


def openapi(indent: int | None) -> str:
    """Return the OpenAPI document as text."""
    return json.dumps(document(), indent=indent, ensure_ascii=False) + "\n"


def summary(one: Operation) -> str:
    """Return the first paragraph of the handler's docstring."""
    text = inspect.getdoc(getattr(views, one.name)) or ""
    return text.partition("\n\n")[0].replace("\n", " ")


def table() -> str:
    """Return the operations as a Markdown table."""
    lines = ["| request | what | room admins, too |", "| --- | --- | --- |"]
    for one in OPERATIONS:
        beside = f" ({', '.join(f'`{name}`' for name in one.beside)})" if one.beside else ""
        admins = "yes" if one.room_admins else ""
        lines.append(f"| `{one.method} {one.path}`{beside} | {summary(one)} | {admins} |")
    return "\n".join(lines)


def page() -> str:
    """Return the page with an up-to-date table."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


# --- the OpenAPI document ------------------------------------------------------------------------

Json = dict[str, Any]
_ERRORS = {
    "400": "The request is invalid; `error` says why.",
    "401": "The secret is missing or wrong.",
    "403": "The caller may not do this.",
    "404": "The room or other item in the path does not exist.",
    "409": "A current chat or an earlier request is in conflict; `error` says what to do.",
    "413": "The request body is too long.",
    "429": "Too many requests: try again after `retry_after_ms`.",
    "503": "The database is unavailable: try again.",
}
_REF = "#/components/schemas/{name}"


def document() -> Json:
    intro = " ".join((inspect.getdoc(shapes) or "").rpartition("\n\n")[2].split())
    paths: dict[str, Json] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "matrix-webchat-bridge: provisioning API",
            "version": __version__,
            "description": f"Generated from bridge/admin/operations.py. {intro}",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/_matrix/provision/v1"}],
        "security": [{"secret": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "secret": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`provisioning.secret` of the configuration.",
                }
            },
            "responses": {
                status: {"description": text, "content": _json({"$ref": _ref(Trouble)})}
                for status, text in _ERRORS.items()
            },
        },
    }


def _operation(one: Operation) -> Json:
    fields = _properties(one.asked)
    described: Json = {
        "operationId": one.name,
        "summary": summary(one),
        "tags": [one.path.split("/")[1]],
        "responses": {
            str(one.status): {
                "description": inspect.getdoc(one.answer),
                "content": _json({"$ref": _ref(one.answer)}),
            },
            **{
                status: {"$ref": f"#/components/responses/{status}"}
                for status in _ERRORS
                if status != "403" and (status != "404" or one.in_path)
                if (status != "413" or one.has_body) and (status != "409" or one.status == 202)
            },
        },
    }
    if one.method != "GET":
        described["description"] = "Recorded in the audit trail with its author (`X-Actor`)."
    described["parameters"] = [
        *(_parameter(name, "path", fields) for name in one.in_path),
        *(() if one.has_body else (_parameter(name, "query", fields) for name in one.beside)),
    ]
    if one.method != "GET":
        claim = {"type": "string", "maxLength": 200, "pattern": "^[ -~]*$"}
        told = "Name of the person behind the request, for the audit trail; it is not verified."
        actor = {"name": "X-Actor", "in": "header", "description": told, "schema": claim}
        described["parameters"].append(actor)
    if one.has_body:
        described["requestBody"] = {"required": True, "content": _json(_body(one, fields))}
    return described


def _parameter(name: str, place: str, fields: Json) -> Json:
    schema = dict(fields[name])
    described: Json = {"name": name, "in": place, "required": place == "path"}
    if text := schema.pop("description", ""):
        described["description"] = text
    return {**described, "schema": schema}


def _body(one: Operation, fields: Json) -> Json:
    return {
        "type": "object",
        "properties": {name: fields[name] for name in one.beside},
        "required": [name for name in one.beside if "default" not in fields[name]],
        "additionalProperties": False,
    }


def _properties(kind: type[msgspec.Struct]) -> Json:
    """Return a struct's fields as JSON Schema by name, with their docstrings."""
    _, components = msgspec.json.schema_components([kind], ref_template=_REF)
    found: Json = _described(components[kind.__name__], kind)["properties"]
    return found


def _schemas() -> Json:
    """Return the schemas of all answers by the name of their struct."""
    answers = [*dict.fromkeys(one.answer for one in OPERATIONS), Trouble]
    _, components = msgspec.json.schema_components(answers, ref_template=_REF)
    return {
        name: _described(schema, getattr(shapes, name))
        for name, schema in sorted(components.items())
    }


def _described(schema: Json, kind: type[msgspec.Struct]) -> Json:
    """Add the field docstrings to a struct's schema as descriptions."""
    texts: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        texts |= _docstrings().get(one.__name__, {})
    encoded = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    for name, text in texts.items():
        if encoded.get(name) in schema["properties"]:
            schema["properties"][encoded[name]]["description"] = text
    schema.pop("title", None)
    if "description" in schema:  # a docstring, still indented before Python 3.13
        schema["description"] = inspect.cleandoc(schema["description"])
    return schema


@cache
def _docstrings() -> dict[str, dict[str, str]]:
    """Return the field docstrings of each struct in `shapes`."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(shapes)).body:
        if isinstance(node, ast.ClassDef):
            fields = found[node.name] = {}
            for pair in pairwise(node.body):
                match pair:
                    case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                        fields[name] = inspect.cleandoc(text)
                    case _:
                        pass
    return found


def _ref(kind: type) -> str:
    return _REF.format(name=kind.__name__)


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


if __name__ == "__main__":
    for copy, indent in DOCUMENTS.items():
        copy.write_text(openapi(indent), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
