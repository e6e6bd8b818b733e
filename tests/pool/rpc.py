"""XML-RPC and JSON-RPC as xapi speaks them (contract 1.2)."""
from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree

from errors import ApiError
from schema import DateTime, Short

_DROPPED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")


class Malformed(Exception):
    """What came is not a call, or not a value."""


def text(value: str) -> str:
    """Text of an element: control characters dropped, four characters escaped."""
    value = _DROPPED.sub("", value)
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def element(value: object) -> str:
    """The `<value>` of something. An integer is text; the names of a struct are not escaped."""
    if value is None:
        return "<value></value>"
    if isinstance(value, bool):
        return f"<value><boolean>{int(value)}</boolean></value>"
    if isinstance(value, Short):
        return f"<value><i4>{int(value)}</i4></value>"
    if isinstance(value, int):
        return f"<value>{value}</value>"
    if isinstance(value, float):
        return f"<value><double>{value:.16g}</double></value>"
    if isinstance(value, DateTime):
        return f"<value><dateTime.iso8601>{value}</dateTime.iso8601></value>"
    if isinstance(value, str):
        return f"<value>{text(value)}</value>"
    if isinstance(value, dict):
        members = "".join(f"<member><name>{name}</name>{element(item)}</member>" for name, item in value.items())
        return f"<value><struct>{members}</struct></value>"
    return f"<value><array><data>{''.join(map(element, value))}</data></array></value>"


def value_of(node: ElementTree.Element) -> object:
    """The value in a `<value>` element. Text without a type is a string, kept as it is."""
    if node.tag != "value":
        raise Malformed(f"<value> expected, not <{node.tag}>")
    if len(node) == 0:
        return node.text or ""
    inner = node[0]
    held = inner.text or ""
    if inner.tag == "string":
        return held
    if inner.tag in ("int", "i4", "i8"):
        return int(held)
    if inner.tag == "boolean":
        return held.strip() == "1"
    if inner.tag == "double":
        return float(held)
    if inner.tag == "dateTime.iso8601":
        return DateTime(held)
    if inner.tag == "nil":
        return ""
    if inner.tag == "array":
        return [value_of(item) for item in inner.find("data")]
    if inner.tag == "struct":
        return {member.find("name").text or "": value_of(member.find("value")) for member in inner}
    raise Malformed(f"unknown element <{inner.tag}>")


def parse_value(data: bytes) -> object:
    """The bare value that an ova.xml or a result holds. CR between elements is refused (contract 3.9)."""
    if re.search(rb">[ \t\n]*\r\s*<", data):
        raise Malformed("CR between elements")
    try:
        return value_of(ElementTree.fromstring(data))
    except (ElementTree.ParseError, ValueError, AttributeError, TypeError) as problem:
        raise Malformed(f"Xmlrpc.Parse_error: {problem}") from None


class XmlCall:
    """One XML-RPC request, and how it is answered."""

    content_type = "text/xml"

    def __init__(self, body: bytes) -> None:
        try:
            root = ElementTree.fromstring(body)
            self.method = root.findtext("methodName")
            self.params = [value_of(node.find("value")) for node in root.iterfind("params/param")]
        except (ElementTree.ParseError, ValueError, AttributeError, TypeError) as problem:
            raise Malformed(str(problem)) from None
        if root.tag != "methodCall" or not self.method:
            raise Malformed("no methodCall")

    def success(self, value: object) -> bytes:
        bare = self.method == "system.listMethods"
        return self._answer(value if bare else {"Status": "Success", "Value": value})

    @staticmethod
    def failure(error: ApiError) -> bytes:
        return XmlCall._answer({"Status": "Failure", "ErrorDescription": error.description})

    @staticmethod
    def _answer(value: object) -> bytes:
        return f'<?xml version="1.0"?><methodResponse><params><param>{element(value)}</param></params></methodResponse>'.encode()


class JsonCall:
    """One JSON-RPC request of version 1.0 or 2.0, and how it is answered."""

    content_type = "application/json"

    def __init__(self, body: bytes) -> None:
        try:
            call = json.loads(body)
            self.method, self.params = call["method"], list(call.get("params", []))
            self.id, self.second = call["id"], call.get("jsonrpc") == "2.0"
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise Malformed(repr(problem)) from None
        if self.id is None:
            raise Malformed("id must not be null")

    def success(self, value: object) -> bytes:
        return self._answer({"result": "" if value is None else value}, {"error": None})

    def failure(self, error: ApiError) -> bytes:
        code, *params = error.description
        if self.second:
            return self._answer({"error": {"code": 1, "message": code, "data": params}}, {})
        return self._answer({"error": error.description}, {"result": None})

    def _answer(self, held: dict[str, object], first_only: dict[str, object]) -> bytes:
        frame = {"jsonrpc": "2.0"} if self.second else first_only
        return json.dumps({**frame, **held, "id": self.id}).encode()
