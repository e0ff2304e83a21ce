"""Tagged JSON: any plain Python value as JSON that gives back every bit.

What JSON carries exactly stands as itself (null, true, integers, finite floats by shortest repr, text, lists, dicts
with text keys); everything else is `{"$": tag, ...}`. Subclasses are not taken for their base: a value that comes back
as something else is not the value.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import math
import struct
import sys
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any, Final

from retrodict.predictions.errors import UnsupportedPayloadError

_DECIMAL_BITS: Final = 10_000  # beyond about 14,000 Python refuses to print decimals


def loaded(name: str) -> Any:
    """Return a library, or None: one that is not loaded, or that another thread is loading now, made no value here."""
    module = sys.modules.get(name)
    return None if getattr(getattr(module, "__spec__", None), "_initializing", False) else module


def dumps(value: object, where: str, leaf: Callable[[object, str], dict[str, object]] | None = None) -> bytes:
    """Return `value` as tagged JSON, ASCII.

    Args:
        value: What to write.
        where: How to name it in an error.
        leaf: Called for what has no form here; returns the object that stands for it, or raises.

    Raises:
        UnsupportedPayloadError: Something in it has no form; names its place and type.
    """
    return json.dumps(plain(value, where, leaf), separators=(",", ":")).encode()


def loads(text: str | bytes, leaf: Callable[[Mapping[str, Any]], object] | None = None) -> Any:
    """Return what `dumps` was given; `leaf` makes what its `leaf` wrote."""
    return read(json.loads(text), leaf)


def plain(value: Any, where: str, leaf: Callable[[object, str], dict[str, object]] | None = None) -> Any:
    """Return `value` as JSON-able objects; see `dumps`."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return value if is_unicode(value) else _tag("str", _b64(value.encode("utf-8", "surrogatepass")))
    if kind is int:
        return value if value.bit_length() < _DECIMAL_BITS else _tag("int", hex(value))
    if kind is float:
        return value if math.isfinite(value) else _tag("f64", struct.pack(">d", value).hex())
    if kind is list:
        return [plain(item, f"{where}[{i}]", leaf) for i, item in enumerate(value)]
    if kind is tuple:
        return _tag("tuple", [plain(item, f"{where}[{i}]", leaf) for i, item in enumerate(value)])
    if kind is dict:
        if all(type(key) is str and key != "$" and is_unicode(key) for key in value):
            return {key: plain(item, f"{where}[{key!r}]", leaf) for key, item in value.items()}
        return _tag("map", [[plain(k, where), plain(v, f"{where}[{k!r}]", leaf)] for k, v in value.items()])
    scalar = _builtin(value) or _foreign(value)
    if scalar is not None:
        return scalar
    if leaf is not None:
        return leaf(value, where)
    raise UnsupportedPayloadError(where, type_name(value))


def read(value: Any, leaf: Callable[[Mapping[str, Any]], object] | None = None) -> Any:
    """Return what `plain` was given."""
    if isinstance(value, list):
        return [read(item, leaf) for item in value]
    if not isinstance(value, dict):
        return value
    if "$" not in value:
        return {key: read(item, leaf) for key, item in value.items()}
    tag = value["$"]
    if tag == "tuple":
        return tuple(read(item, leaf) for item in value["v"])
    if tag == "map":
        return {read(key): read(item, leaf) for key, item in value["v"]}
    if tag == "leaf" and leaf is not None:
        return leaf(value)
    return _READERS[tag](value)


def is_unicode(text: str) -> bool:
    """Say whether `text` has no lone surrogate, so that it can be written as UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def type_name(value: object) -> str:
    """Return the type of `value` as a person would import it."""
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def zone_name(zone: object) -> str | None:
    """Return the text from which pandas makes an equal time zone, or None where no text does."""
    import pandas as pd  # 300 ms, but loaded: the zone belongs to one of its values

    try:
        same = pd.DatetimeTZDtype("ns", str(zone)) == pd.DatetimeTZDtype("ns", zone)
    except Exception:  # noqa: BLE001 - what pandas raises depends on the kind of zone; no text then
        return None
    return str(zone) if same else None


def _tag(tag: str, value: object) -> dict[str, object]:
    return {"$": tag, "v": value}


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _builtin(value: Any) -> dict[str, object] | None:
    kind = type(value)
    if kind is bytes:
        return _tag("bytes", _b64(value))
    if kind is complex:
        return _tag("c128", struct.pack(">dd", value.real, value.imag).hex())
    if kind is decimal.Decimal:
        return _tag("decimal", str(value))
    if kind is uuid.UUID:
        return _tag("uuid", str(value))
    if kind is dt.date:
        return _tag("date", value.isoformat())
    if kind is dt.timedelta:
        return _tag("timedelta", [value.days, value.seconds, value.microseconds])
    if kind is dt.time and value.tzinfo is None:
        return {"$": "time", "v": value.isoformat(), "fold": value.fold}
    if kind is dt.datetime:
        zone = value.tzinfo
        if zone is None or type(zone) is dt.timezone:
            return {"$": "datetime", "v": value.isoformat(), "fold": value.fold}
        if isinstance(zone, zoneinfo.ZoneInfo) and zone.key:
            return {"$": "datetime", "v": value.replace(tzinfo=None).isoformat(), "fold": value.fold, "zone": zone.key}
    return None


def _foreign(value: Any) -> dict[str, object] | None:
    """Return the form of a NumPy or pandas scalar: exists only where its library is loaded."""
    numpy, pandas = loaded("numpy"), loaded("pandas")
    if numpy is not None and isinstance(value, numpy.generic):
        if value.dtype.hasobject or value.dtype.names is not None or value.dtype.kind == "T":
            return None
        return {"$": "numpy", "t": value.dtype.str, "v": value.tobytes().hex()}
    if pandas is None:
        return None
    if value is pandas.NA:
        return {"$": "NA"}
    if value is pandas.NaT:
        return {"$": "NaT"}
    if type(value) is pandas.Timedelta:
        return {"$": "Timedelta", "v": int(value.asm8.view("i8")), "unit": value.unit}
    if type(value) is pandas.Timestamp:
        zone = None if value.tzinfo is None else zone_name(value.tzinfo)
        if value.tzinfo is None or zone is not None:
            return {"$": "Timestamp", "v": int(value.asm8.view("i8")), "unit": value.unit, "zone": zone}
    return None


def _read_datetime(form: Mapping[str, Any]) -> dt.datetime:
    moment = dt.datetime.fromisoformat(form["v"]).replace(fold=form["fold"])
    return moment.replace(tzinfo=zoneinfo.ZoneInfo(form["zone"])) if "zone" in form else moment


def _read_numpy(form: Mapping[str, Any]) -> Any:
    import numpy as np  # 80 ms

    dtype = np.dtype(form["t"])
    if dtype.hasobject:
        raise ValueError("an object dtype in a scalar")
    return np.frombuffer(bytes.fromhex(form["v"]), dtype)[0] if dtype.itemsize else dtype.type()


def _read_pandas(form: Mapping[str, Any]) -> Any:
    import numpy as np  # 80 ms
    import pandas as pd  # 300 ms

    match form["$"]:
        case "NA":
            return pd.NA
        case "NaT":
            return pd.NaT
        case "Timedelta":
            return pd.Timedelta(np.timedelta64(form["v"], form["unit"]))
        case _:
            stamp = pd.Timestamp(np.datetime64(form["v"], form["unit"]))
            zone = form["zone"]
            return stamp if zone is None else stamp.tz_localize("UTC").tz_convert(pd.DatetimeTZDtype("ns", zone).tz)


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    "str": lambda form: base64.b64decode(form["v"]).decode("utf-8", "surrogatepass"),
    "int": lambda form: int(form["v"], 16),
    "f64": lambda form: struct.unpack(">d", bytes.fromhex(form["v"]))[0],
    "c128": lambda form: complex(*struct.unpack(">dd", bytes.fromhex(form["v"]))),
    "bytes": lambda form: base64.b64decode(form["v"]),
    "decimal": lambda form: decimal.Decimal(form["v"]),
    "uuid": lambda form: uuid.UUID(form["v"]),
    "date": lambda form: dt.date.fromisoformat(form["v"]),
    "time": lambda form: dt.time.fromisoformat(form["v"]).replace(fold=form["fold"]),
    "timedelta": lambda form: dt.timedelta(*form["v"]),
    "datetime": _read_datetime,
    "numpy": _read_numpy,
    "NA": _read_pandas,
    "NaT": _read_pandas,
    "Timestamp": _read_pandas,
    "Timedelta": _read_pandas,
}
