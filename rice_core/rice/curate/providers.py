"""Providers by name: `sam2:facebook/sam2-hiera-tiny` is a family and, after the colon, its model.

A new provider is one line here and one file. What was built last is kept, so that a model is loaded once a process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pkgutil import resolve_name
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
    found: RegionFeaturizer = (
        _made("hog:Hog") if text == "hog" else _made("encoder_features:EncoderFeatures", text, device=device)
    )
    return found


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


def _pick(flag: str, text: str, table: _Table, device: str) -> Any:
    family, colon, model = text.strip().partition(":")
    if family not in table:
        raise UserError(
            f"{flag} {text}: there is no {family!r}; {did_you_mean(family, table)}choose from {', '.join(table)}."
        )
    if bool(colon) != (family in _WITH_MODEL) or (colon and not model):
        form = f"{family}:MODEL" if family in _WITH_MODEL else family
        raise UserError(f"{flag} {text} cannot be read; write {form}.")
    return table[family](model, device)


def _made(target: str, *words: str, **named: str) -> Any:
    """What `file:Class` of this folder builds; the file is imported then."""
    return resolve_name(f"rice_core.rice.curate.{target}")(*words, **named)


_Table = Mapping[str, Callable[[str, str], Any]]
"""Family -> (model, device) -> the provider."""
_PROPOSERS: _Table = {
    "classical": lambda model, device: _made("classical:Classical"),
    "coco": lambda model, device: _made("given:CocoRegions"),
    "sa1b": lambda model, device: _made("given:Sa1bMasks"),
    "sam": lambda model, device: _made("sam:Sam", "sam", model, device=device),
    "sam2": lambda model, device: _made("sam:Sam", "sam2", model, device=device),
    "none": lambda model, device: None,
}
_SPOTTERS: _Table = {
    "rapidocr": lambda model, device: _made("spot_text:RapidOcr"),
    "pp-ocr": lambda model, device: _made("pp_ocr:PpOcr", model, device=device),
    "annotations": lambda model, device: _made("given:AnnotatedText"),
    "none": lambda model, device: None,
}
_TOKENIZERS: _Table = {
    "clip-bpe": lambda model, device: _made("tokenize:ClipBpe"),
    "syllables": lambda model, device: _made("tokenize:Syllables"),
    "hf": lambda model, device: _made("tokenize:HuggingFace", model),
}
_WITH_MODEL = frozenset({"sam", "sam2", "pp-ocr", "hf"})
