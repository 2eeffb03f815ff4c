"""The image processor of a Hugging Face checkpoint, asked for its pixels instead of read for its fields.

Its fields are many (do_resize, size, crop_size, crop_pct, rescale_factor ...) and each class has its own way with them, so
nothing here repeats that arithmetic: the processor is run, and what it gives is checked. Only another size than the
checkpoint's own has to be restated, by the same share of every size that its file names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
import transformers
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from PIL import Image

from rice_core.encoders.hub import about_file, json_object
from rice_core.encoders.preprocess import LibraryRecipe, interpolation_name
from rice_core.errors import UserError
from rice_core.spec import Channels, EncoderSpec

FILES = ("processor_config.json", "preprocessor_config.json")
"""In the order in which transformers heeds them; the first is often about other things."""
_PICTURES = ((97, 64), (64, 97), (1400, 600))
"""Widths and heights by which it is tried whether every picture comes out in one size."""
_SQUARE = (1024, 1024)
_COLOUR = (10, 100, 200)
_NAFLEX = "squashed to a square; the checkpoint's own processor keeps the aspect ratio"
_STATED = "mean, std and interpolation as given, for want of a file; shortest edge to the size, then the centre"


def processor_recipe(spec: EncoderSpec, config: Any) -> tuple[LibraryRecipe, dict[str, str]]:
    """The recipe of a checkpoint, and what a record has to say about it.

    Args:
        config: the model's. Its `image_size` counts where there is no processor file.

    Raises:
        UserError: there is no processor file and the spec does not stand in for it; the processor fails, gives pictures
            of several sizes, or changes colours by more than a mean and a standard deviation.
    """
    found = _found(spec)
    if found is None:
        return _stated(spec, config)
    file, fields = found
    with about_file(spec, file):
        processor = _load(spec, file, fields)
        naflex = bool(getattr(processor, "max_num_patches", None))
        if naflex:
            processor = _square(processor, int(config.patch_size))
        own = _Own(spec.title, file, processor, _own_hw(spec.title, file, processor))
        return own.recipe(own.own_hw), {"preprocessing": _NAFLEX} if naflex else {}


def _found(spec: EncoderSpec) -> tuple[str, dict[str, Any]] | None:
    """The name of the file that states the processor, and its fields; None where none does."""
    unreached: LocalEntryNotFoundError | None = None
    for name in FILES:
        try:
            path = _fetched(spec, name)
        except LocalEntryNotFoundError as error:  # offline: the hub may have it
            unreached = error
            continue
        fields = None if path is None else _fields(spec, path)
        if fields is not None:
            return name, fields
    if unreached is not None:
        raise unreached
    return None


def _fetched(spec: EncoderSpec, name: str) -> Path | None:
    if Path(spec.model).is_dir():
        path = Path(spec.model) / name
        return path if path.is_file() else None
    try:
        return Path(hf_hub_download(spec.model, name, revision=spec.revision))
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError:
        return None


def _fields(spec: EncoderSpec, path: Path) -> dict[str, Any] | None:
    """The processor's fields; None where the file is about other things."""
    body = json_object(spec, path)
    fields = body.get("image_processor") if path.name == FILES[0] else body
    if not isinstance(fields, dict | None):
        raise UserError(f"{spec.title}: image_processor in its {path.name} is no object in braces; correct that file.")
    for name, value in (fields or {}).items():
        # Python would take the text "false" for yes.
        if name.startswith("do_") and not isinstance(value, bool | None):
            raise UserError(f"{spec.title}: {name} in its {path.name} is {value!r}; correct it to true or false.")
    return fields


def _load(spec: EncoderSpec, file: str, fields: Mapping[str, Any]) -> Any:
    kind = fields.get("image_processor_type")
    reader: Any = transformers.AutoImageProcessor
    if isinstance(kind, str) and kind.endswith("FeatureExtractor"):
        # A name of before transformers 4.26, which AutoImageProcessor understands under feature_extractor_type alone.
        reader = getattr(transformers, kind.replace("FeatureExtractor", "ImageProcessor"), reader)
    given: dict[str, Any] = {f"image_{key}": list(spec.pixels[key]) for key in ("mean", "std") if key in spec.pixels}
    if given:
        given["do_normalize"] = True
    if spec.interpolation:
        given["resample"] = _filter(spec.interpolation)
    try:
        return reader.from_pretrained(spec.model, revision=spec.revision or "main", trust_remote_code=False, **given)
    except ValueError as error:
        if not str(error).startswith("Unrecognized image processor"):
            raise
        named = "names no image processor" if kind is None else f"names {kind!r}, no image processor"
        raise UserError(
            f"{spec.title}: its {file} {named} that transformers {transformers.__version__} has; in a copy of it set "
            "image_processor_type to the one that it was trained with, such as CLIPImageProcessor."
        ) from error


def _stated(spec: EncoderSpec, config: Any) -> tuple[LibraryRecipe, dict[str, str]]:
    """What the spec says, in the way of CLIP: shortest edge to the size, then the centre."""
    if spec.mean is None or spec.std is None or spec.interpolation is None:
        missing = [f"{key}=" for key in ("mean", "std", "interpolation") if key not in spec.pixels]
        raise UserError(
            f"{spec.title}: it has no {FILES[1]}, so {' and '.join(missing)} are not known; add that file, "
            "or say them, as in ?mean=0.485,0.456,0.406&std=0.229,0.224,0.225&interpolation=bicubic."
        )
    size = getattr(config, "image_size", None)
    own_hw = (size, size) if isinstance(size, int) else tuple(size or spec.resolution or ())
    if len(own_hw) != 2:
        raise UserError(
            f"{spec.title}: it has no {FILES[1]} and its config.json no image_size; say the size, as in res=224."
        )
    side = max(own_hw)
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=list(spec.mean),
        image_std=list(spec.std),
        resample=_filter(spec.interpolation),
    )
    own = _Own(spec.title, "?mean=, ?std= and ?interpolation=", processor, (side, side))
    return own.recipe((own_hw[0], own_hw[1])), {"preprocessing": _STATED}


def _square(processor: Any, patch: int) -> Any:
    """SigLIP's processor with the values of a NaFlex one, at the size that the latter gives a square picture.

    NaFlex gives each picture a grid of its own shape, and an encoder here has one size for all, as batches, dense views and
    detection need; so pictures are squashed, as SigLIP's own are.
    """
    if processor.patch_size != patch:
        raise ValueError(f"patch_size is {processor.patch_size}, in config.json {patch}")
    h, w = processor(images=[Image.new("RGB", _SQUARE)])["spatial_shapes"][0]
    known = transformers.SiglipImageProcessor.valid_kwargs.__annotations__
    fields = {key: value for key, value in processor.to_dict().items() if key in known}
    return transformers.SiglipImageProcessor(**fields | {"size": {"height": int(h) * patch, "width": int(w) * patch}})


def _own_hw(title: str, file: str, processor: Any) -> tuple[int, int]:
    """Height and width that it gives pictures of any shape."""
    shapes = {tuple(_run(processor, Image.new("RGB", size)).shape) for size in _PICTURES}
    wrong = [shape for shape in shapes if len(shape) != 3 or shape[0] != 3]
    if wrong:
        raise UserError(
            f"{title}: by its {file} a picture comes out as {wrong[0]}; choose a checkpoint for RGB images."
        )
    if len(shapes) > 1:
        sizes = " and ".join(sorted(f"{height}x{width}" for _, height, width in shapes))
        raise UserError(
            f"{title}: by its {file} pictures come out in several sizes ({sizes}); in a copy of it set do_center_crop and a "
            "crop_size, or do_resize and a size of height and width."
        )
    ((_, height, width),) = shapes
    return height, width


def _run(processor: Any, image: Image.Image, **sizes: dict[str, int]) -> torch.Tensor:
    found: torch.Tensor = processor(images=[image], return_tensors="pt", **sizes)["pixel_values"][0]
    return found.float()


@dataclass(frozen=True)
class _Own:
    """A processor, and how it is called in messages."""

    title: str
    file: str
    processor: Any
    own_hw: tuple[int, int]
    """Height and width of what it gives when it is not told otherwise."""

    def recipe(self, resolution: tuple[int, int]) -> LibraryRecipe:
        mean, std = self._values()
        fields = {key: value for key, value in self.processor.to_dict().items() if key != "processor_class"}
        return LibraryRecipe(
            resolution=resolution,
            mean=mean,
            std=std,
            interpolation=interpolation_name(self.processor.resample),
            image=self.image,
            description={
                "processor": json.loads(json.dumps(fields, default=str)),
                "backend": f"{self.processor.backend}, torchvision {torchvision.__version__}",
            },
        )

    def image(self, image: Image.Image, height: int, width: int) -> torch.Tensor:
        sizes = {}
        if (height, width) != self.own_hw:
            for name in ("size", "crop_size", "pad_size"):
                stated = dict(getattr(self.processor, name, None) or {})
                if stated := {key: side for key, side in stated.items() if side is not None}:
                    sizes[name] = self._restated(stated, (height, width), (image.height, image.width))
        found = _run(self.processor, image, **sizes)
        if found.shape != (3, height, width):
            raise UserError(
                f"{self.title}: by its {self.file} a picture comes out in {found.shape[1]}x{found.shape[2]} where "
                f"{height}x{width} is wanted; leave out res=, or give one of the shape of {self._own}."
            )
        return found

    def _values(self) -> tuple[Channels, Channels]:
        """Mean and standard deviation of pixels in [0, 1], rescaling included: views of whole pictures use them alone."""
        own = self.processor
        # Model space is (white x pixel - m) / d.
        white = 255 * (own.rescale_factor if own.do_rescale else 1.0)
        m, d = (own.image_mean, own.image_std) if own.do_normalize else (0.0, 1.0)
        mean, std = (torch.as_tensor(value, dtype=torch.float64).expand(3) / white for value in (m, d))
        if not (std > 0).all():
            raise ValueError(f"image_std is {d}")
        solid = _run(own, Image.new("RGB", _SQUARE, _COLOUR)).double()
        centre = solid[:, solid.shape[1] // 2, solid.shape[2] // 2]
        if not torch.allclose(centre * std + mean, torch.tensor(_COLOUR).double() / 255, atol=1e-3):
            raise UserError(
                f"{self.title}: by its {self.file} colours change by more than a mean and a standard deviation, "
                "which views of whole pictures cannot follow; choose another checkpoint."
            )
        return _three(mean), _three(std)

    def _restated(
        self, stated: Mapping[str, int], size_hw: tuple[int, int], image_hw: tuple[int, int]
    ) -> dict[str, int]:
        """Sizes of the file, by the share that `size_hw` is of the processor's own size."""
        if set(stated) == {"shortest_edge"}:
            return {"shortest_edge": self._edge(stated["shortest_edge"], size_hw, image_hw)}
        (h, w), (own_h, own_w) = size_hw, self.own_hw
        if not set(stated) <= {"height", "width"} and h * own_w != w * own_h:
            raise UserError(
                f"{self.title}: its {self.file} sizes pictures by {' and '.join(sorted(stated))}, which does not say how to "
                f"fill {h}x{w}; give a res= of the shape of {self._own}."
            )
        return {key: round(side * (w / own_w if "width" in key else h / own_h)) for key, side in stated.items()}

    def _edge(self, edge: int, size_hw: tuple[int, int], image_hw: tuple[int, int]) -> int:
        """The shortest edge at which the picture covers `size_hw`, with the margin that it has around the own size."""
        need_h, need_w = (round(edge * side / own) for side, own in zip(size_hw, self.own_hw, strict=True))
        (short, need_short), (long, need_long) = sorted(zip(image_hw, (need_h, need_w), strict=True))
        return max(need_short, -(-need_long * short // long))

    @property
    def _own(self) -> str:
        return f"its own {self.own_hw[0]}x{self.own_hw[1]}"


def _filter(name: str) -> int:
    return int(Image.Resampling[name.upper()])


def _three(value: torch.Tensor) -> Channels:
    red, green, blue = value.tolist()
    return red, green, blue
