"""Providers by name: `sam2:facebook/sam2-hiera-tiny` is a family and, after the colon, its model.

A new provider is one function here and one file. What was built last is kept, so that a model is loaded once a process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rice_core.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from rice_core.rice.curate.nouns import Provider, RegionFeaturizer, RegionProposer, TextSpotter, Tokenizer
    from rice_core.rice.curate.settings import CurateSettings


@lru_cache(maxsize=2)
def proposer(text: str, device: str = "cpu") -> RegionProposer | None:
    """The proposer of `text`; None for "none".

    Raises:
        UserError: no such provider, a model that cannot be loaded, or a library that is not installed.
    """
    found: RegionProposer | None = _pick("--proposals", text, _PROPOSERS, device)
    return found


@lru_cache(maxsize=2)
def spotter(text: str, device: str = "cpu") -> TextSpotter | None:
    """The text spotter of `text`; None for "none". Raises as `proposer` does."""
    found: TextSpotter | None = _pick("--text", text, _SPOTTERS, device)
    return found


def tokenizer(text: str) -> Tokenizer:
    """The tokenizer of `text`. Raises as `proposer` does."""
    found: Tokenizer = _pick("--tokenizer", text, _TOKENIZERS, "cpu")
    return found


@lru_cache(maxsize=2)
def featurizer(text: str, device: str = "cpu") -> RegionFeaturizer:
    """`hog`, or the encoder that `text` names.

    Raises:
        UserError: no such encoder, or one that cannot be loaded.
    """
    if text == "hog":
        from rice_core.rice.curate.hog import Hog

        return Hog()
    from rice_core.rice.curate.encoder_features import EncoderFeatures

    return EncoderFeatures(text, device=device)


@dataclass(frozen=True)
class Chosen:
    """The providers of one curation, and what the manifest says of them."""

    tokenizer: Tokenizer | None
    """None where no text is spotted."""
    components: int | None
    """Of the featurizer."""
    find_portable: bool
    describe_portable: bool
    versions: dict[str, str]
    """Role -> name@version."""

    @classmethod
    def of(cls, settings: CurateSettings, device: str) -> Chosen:
        """Load what the settings name. Raises as the functions above do."""
        from rice_core.rice.curate.cluster import FaissKmeans

        _forget()
        finders = {"proposer": proposer(settings.proposals, device), "text_spotter": spotter(settings.text, device)}
        reader = None if finders["text_spotter"] is None else tokenizer(settings.tokenizer)
        describer = featurizer(settings.features, device)
        parts: dict[str, Provider | type[Provider] | None] = {
            **finders,
            "tokenizer": reader,
            "featurizer": describer,
            "clusterer": FaissKmeans,
        }
        versions = {role: f"{part.name}@{part.version}" for role, part in parts.items() if part is not None}
        portable = all(part is None or part.portable for part in finders.values())
        return cls(reader, describer.components, portable, describer.portable, versions)

    def only(self, *roles: str) -> dict[str, str]:
        """The versions of some roles."""
        return {role: self.versions[role] for role in roles if role in self.versions}


def _forget() -> None:
    """Load models anew: one may have been trained since."""
    for kept in (proposer, spotter, featurizer):
        kept.cache_clear()


def _pick(flag: str, text: str, table: Mapping[str, Callable[[str, str], Any]], device: str) -> Any:
    family, colon, model = text.strip().partition(":")
    if family not in table:
        raise UserError(
            f"{flag} {text}: there is no {family!r}; {did_you_mean(family, table)}choose from {', '.join(table)}."
        )
    if bool(colon) != (family in _WITH_MODEL) or (colon and not model):
        form = f"{family}:MODEL" if family in _WITH_MODEL else family
        raise UserError(f"{flag} {text} cannot be read; write {form}.")
    return table[family](model, device)


def _classical(_model: str, _device: str) -> Any:
    from rice_core.rice.curate.classical import Classical

    return Classical()


def _coco(_model: str, _device: str) -> Any:
    from rice_core.rice.curate.given import CocoRegions

    return CocoRegions()


def _sa1b(_model: str, _device: str) -> Any:
    from rice_core.rice.curate.given import Sa1bMasks

    return Sa1bMasks()


def _sam(family: str) -> Callable[[str, str], Any]:
    def build(model: str, device: str) -> Any:
        from rice_core.rice.curate.sam import Sam

        return Sam(family, model, device=device)

    return build


def _rapidocr(_model: str, _device: str) -> Any:
    from rice_core.rice.curate.spot_text import RapidOcr

    return RapidOcr()


def _pp_ocr(model: str, device: str) -> Any:
    from rice_core.rice.curate.pp_ocr import PpOcr

    return PpOcr(model, device=device)


def _annotated(_model: str, _device: str) -> Any:
    from rice_core.rice.curate.given import AnnotatedText

    return AnnotatedText()


def _none(_model: str, _device: str) -> Any:
    return None


def _clip(_model: str, _device: str) -> Any:
    from rice_core.rice.curate.tokenize import ClipBpe

    return ClipBpe()


def _syllables(_model: str, _device: str) -> Any:
    from rice_core.rice.curate.tokenize import Syllables

    return Syllables()


def _hf(model: str, _device: str) -> Any:
    from rice_core.rice.curate.tokenize import HuggingFace

    return HuggingFace(model)


_PROPOSERS: dict[str, Callable[[str, str], Any]] = {
    "classical": _classical,
    "coco": _coco,
    "sa1b": _sa1b,
    "sam": _sam("sam"),
    "sam2": _sam("sam2"),
    "none": _none,
}
_SPOTTERS: dict[str, Callable[[str, str], Any]] = {
    "rapidocr": _rapidocr,
    "pp-ocr": _pp_ocr,
    "annotations": _annotated,
    "none": _none,
}
_TOKENIZERS: dict[str, Callable[[str, str], Any]] = {"clip-bpe": _clip, "syllables": _syllables, "hf": _hf}
_WITH_MODEL = frozenset({"sam", "sam2", "pp-ocr", "hf"})
