"""What a scoring request says about its body: its media type and its encoding.

Only types that a browser sends to another site's server after asking it first: a form or plain text would let any web
page use a model on its reader's machine. No model server says yes to such a question.
"""

from collections.abc import Collection, Iterable

from serving.errors import UnsupportedMediaTypeError

JSON = "application/json"
CSV = "text/csv"
BINARY = "application/octet-stream"

Headers = Iterable[tuple[bytes, bytes]]


def media_type(headers: Headers, allowed: Collection[str] = (JSON,), *, may_be_absent: bool = False) -> str:
    """The media type of a request's body, one of ``allowed``; the first if it is some other kind of JSON.

    Args:
        headers: of the request, names in lower case.
        allowed: media types; the first is JSON.
        may_be_absent: for clients that send no type. A browser does so too, but names its origin.

    UnsupportedMediaTypeError: another type or charset, or a body that is compressed.
    """
    found = encoding = origin = None
    for name, value in headers:
        if name == b"content-type":
            found = value
        elif name == b"content-encoding":
            encoding = value
        elif name == b"origin":
            origin = value
    if encoding is not None and encoding.strip().lower() not in {b"", b"identity"}:
        raise UnsupportedMediaTypeError("Content-Encoding is not supported: send the body uncompressed")
    if found == b"application/json":
        return JSON
    if found is None and may_be_absent and origin is None:
        return JSON
    kind, *parameters = [part.strip().lower() for part in (found or b"").decode("latin-1").split(";")]
    if kind.startswith("application/") and kind.endswith("+json"):
        kind = JSON
    if kind not in allowed or any(p.replace('"', "") not in {"charset=utf-8", ""} for p in parameters):
        raise UnsupportedMediaTypeError(f"send Content-Type: {' or '.join(allowed)}, in UTF-8")
    return kind
