"""Frozen config dataclasses to JSON and back, strictly.

Every field is checked against its annotation, so a file cannot bring in a value that no constructor
call would. A field that the JSON lacks keeps its default: a new field's default must therefore mean
what old checkpoints did.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
SCALARS = (bool, int, float, str)


def config_to_json(config: Any) -> dict[str, Any]:
    """The fields of a dataclass instance, nested, as `json.dumps` takes them."""
    return asdict(config)


def config_from_json(kind: type[T], data: Any, where: str = "config") -> T:
    """The dataclass `kind` from what `json.loads` gave.

    Raises:
        ValueError: a key is unknown, a value has the wrong type, or the dataclass refuses it; the
            message says where.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where} must be an object, got {data!r}")
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = [str(key) for key in data if key not in known]
    if unknown:
        raise ValueError(
            f"{where} must have keys out of {', '.join(known)}, got {', '.join(unknown[:5])}"
        )
    values = {key: _value(hints[key], value, f"{where}.{key}") for key, value in data.items()}
    return kind(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotation `hint` has it."""
    if is_dataclass(hint) and isinstance(hint, type):
        return config_from_json(hint, value, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where} must be one of {arguments}, got {value!r}")
        return value
    if origin is tuple and isinstance(value, list):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            arguments = arguments[:1] * len(value)
        if len(arguments) != len(value):
            raise ValueError(f"{where} must have {len(arguments)} items, got {len(value)}")
        return tuple(
            _value(each, item, f"{where}[{number}]")
            for number, (each, item) in enumerate(zip(arguments, value, strict=True))
        )
    return _scalar(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and type(value) is int:
        return float(value)
    if hint not in SCALARS or type(value) is not hint:
        name = getattr(hint, "__name__", str(hint))
        raise ValueError(f"{where} must be {name}, got {value!r}")
    return value
