"""How the short strings of `rice_core.spec` are read: `?key=value&...`, the settings of an encoder, the values of a probe."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from rice_core.errors import UserError, did_you_mean

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_SETTINGS = ("res", "layers", "norm", "dtype", "pad", "weights", "mean", "std", "interpolation")
_SETTING_WORDS = {
    "resolution": "res",
    "size": "res",
    "norm_last": "norm",
    "precision": "dtype",
    "checkpoint": "weights",
}


def sound(text: str) -> str:
    """The text, where a record can hold it: bytes that are no text reach us as surrogates.

    Raises:
        UserError: it has some.
    """
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise UserError(f"{text!r} holds bytes that are no text; rename what it names, then write the new name.")
    return text


def settings(query: str, given: str) -> list[tuple[str, str]]:
    """What stands behind the question mark.

    Raises:
        UserError: it is no list of key=value, or a key stands twice.
    """
    # A plus is a plus (pool=cls+mean, weights=a+b.pth), never a space.
    pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
    if len(pairs) != len([part for part in query.split("&") if part]):
        raise UserError(f"{given!r}: write settings as ?key=value&key=value.")
    if len({key for key, _ in pairs}) != len(pairs):
        raise UserError(f"{given!r}: a setting is given twice; keep one.")
    return pairs


def as_param(text: str) -> bool | int | float | str:
    """A value of a probe's setting: bool, int, float, else text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def encoder_field(key: str, value: str, given: str) -> dict[str, Any]:
    """One setting of an encoder -> the field of `EncoderSpec` that it is, not yet checked.

    Raises:
        UserError: no such setting, or a value that cannot be read.
    """
    try:
        match key:
            case "res":
                sides = tuple(int(side) for side in value.lower().split("x"))
                return {"resolution": sides[0] if len(sides) == 1 else sides}
            case "layers":
                return {"layers": tuple(int(layer) for layer in value.split(","))}
            case "norm" | "pad":
                return {{"norm": "norm_last", "pad": "pad_to_patch"}[key]: {"0": False, "1": True}[value]}
            case "dtype":
                return {"dtype": DTYPES.get(value, value)}
            case "mean" | "std":
                red, *others = (float(number) for number in value.split(","))
                green, blue = others or (red, red)
                return {key: (red, green, blue)}
            case "interpolation":
                return {key: value}
            case "weights":
                return {"weights": value or None}
    except (ValueError, KeyError):
        raise UserError(
            f"{given!r}: {key}={value} cannot be read; examples: res=448x560, layers=-2,-1, norm=1, dtype=bf16, mean=0.48,0.46,0.41."
        ) from None
    near = did_you_mean(key, _SETTINGS, _SETTING_WORDS) or f"use {', '.join(_SETTINGS[:-1])} or {_SETTINGS[-1]}."
    raise UserError(f"{given!r}: {key!r} is no setting of an encoder; {near}".rstrip())
