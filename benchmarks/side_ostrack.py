"""OSTrack's side of `peer_ostrack`: its own test loop, with our frozen encoder and head in place of its network.

Its `Tracker._track_sequence` reads each frame with OpenCV and calls its `OSTrack.initialize` and `track`: its crop, its preprocessor, its
Hann window, its `cal_bbox`, its `clip_box`. What it imports and does not use here (loaders, loggers, a viewer) is stood in for, and
on a CPU `.cuda()` gives the tensor itself. It imports this project for the network alone.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from rice_core.datasets import Video
from tracking.crops import cut, foreground
from tracking.geometry import Crop
from tracking.tracker import ObjectTracker

_UNUSED = ("lmdb", "jpeg4py", "tensorboardX", "lib.vis.visdom_cus", "lib.train.data.loader")
_EPS = 1e-6


class OstrackLoop:
    """Follows one video after the other.

    Args:
        checkout: of botaoye/OSTrack. tracker: ours, of `geometry="ostrack"` and `norm="layer"`.
        again: whether the template passes the encoder with every frame, as it does there, where template and search share one
            stream of tokens; else once a video, which the separate passes of a frozen encoder allow.
        crops: whether its crops are cut by our code; OpenCV resizes in whole numbers, which makes pixels of another level.

    Raises:
        ModuleNotFoundError: OpenCV is not installed here.
    """

    def __init__(self, checkout: Path, tracker: ObjectTracker, *, again: bool, crops: bool = False) -> None:
        _stand_in(checkout)
        from lib.models.layers.head import CenterPredictor
        from lib.test.evaluation.data import Sequence as Frames
        from lib.test.evaluation.tracker import Tracker
        from lib.test.tracker import ostrack
        from lib.train.data.processing_utils import sample_target

        config = tracker.config
        assert (config.geometry, config.norm) == ("ostrack", "layer")
        self._network = _Network(tracker, CenterPredictor(8, 16, config.search_grid, tracker.encoder.patch), again)
        ostrack.build_ostrack = lambda *_, **__: self._network
        self._loop, self._frames, self._module = Tracker.__new__(Tracker), Frames, ostrack
        self._cut = _our_crop if crops else sample_target
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder, "empty.pth")
            torch.save({"net": {}}, checkpoint)
            self._tracker = ostrack.OSTrack(_parameters(tracker, str(checkpoint)), "videos")
        recipe: Any = tracker.encoder.recipe  # type: ignore[attr-defined]
        for name in ("mean", "std"):  # the encoder's own in place of ImageNet's
            value = torch.tensor(getattr(recipe, name)).view(1, 3, 1, 1).to(tracker.encoder.device)
            setattr(self._tracker.preprocessor, name, value)

    def follow(self, videos: Sequence[Video]) -> dict[str, npt.NDArray[np.float64]]:
        """The boxes of each video (T, 4); they count from 0, as the videos do."""
        found, self._module.sample_target = {}, self._cut
        for video in videos:
            truth_T4 = video.track().boxes_T4
            sequence = self._frames(video.id, [str(path) for path in video.frames], "videos", truth_T4)
            self._network.begin(truth_T4[0].tolist())
            output = self._loop._track_sequence(self._tracker, sequence, sequence.init_info())
            found[video.id] = np.array(output["target_bbox"], np.float64)
        return found


class _Network:
    """What OSTrack's tracker asks of its network."""

    def __init__(self, tracker: ObjectTracker, box_head: Any, again: bool) -> None:
        self.box_head = box_head
        self._tracker, self._again = tracker, again
        self._template: torch.Tensor | None = None

    def begin(self, box: Sequence[float]) -> None:
        """Another video: which cells of its template show the object."""
        config = self._tracker.config
        crop = Crop.around(box, config.template_factor, self._tracker.template_size, config.geometry)
        cells_TT = foreground(crop, box, config.template_grid)
        self._cells_1TT = torch.from_numpy(cells_TT)[None].to(self._tracker.encoder.device)
        self._template = None

    def forward(self, template: torch.Tensor, search: torch.Tensor, **_: object) -> dict[str, torch.Tensor]:
        if self._template is None or self._again:
            self._template = self._tracker.head.template(self._tokens(template), self._cells_1TT)
        maps = self._tracker.head(self._template, self._tokens(search))
        return {"score_map": maps.score_BSS[:, None], "size_map": maps.size_B2SS, "offset_map": maps.offset_B2SS}

    def _tokens(self, pixels_13SS: torch.Tensor) -> torch.Tensor:
        tokens_1CTT = self._tracker.encoder.encode(pixels_13SS).dense_BCHW
        return functional.layer_norm(tokens_1CTT.movedim(1, 3), tokens_1CTT.shape[1:2], eps=_EPS).movedim(3, 1)

    def cuda(self) -> _Network:
        return self

    def eval(self) -> _Network:
        return self

    def load_state_dict(self, *_: object, **__: object) -> None:
        """Its weights are there."""


def _our_crop(
    pixels_HW3: npt.NDArray[np.uint8], box: Sequence[float], factor: float, *, output_sz: int
) -> tuple[npt.NDArray[np.uint8], float, npt.NDArray[np.bool_]]:
    """Its `sample_target` by our code: the crop, how much larger it is than in the frame, and a mask that nobody reads."""
    crop = Crop.around(box, factor, output_sz, "ostrack")
    return cut(pixels_HW3, crop), output_sz / crop.side, np.zeros((output_sz, output_sz), np.bool_)


def _stand_in(checkout: Path) -> None:
    import cv2

    cv2.setNumThreads(torch.get_num_threads())
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    for name in _UNUSED:
        sys.modules.setdefault(name, MagicMock())
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[assignment,method-assign]


def _parameters(tracker: ObjectTracker, checkpoint: str) -> SimpleNamespace:
    config = tracker.config
    backbone = SimpleNamespace(STRIDE=tracker.encoder.patch, CE_LOC=[])
    cfg = SimpleNamespace(
        TEST=SimpleNamespace(SEARCH_SIZE=tracker.search_size), MODEL=SimpleNamespace(BACKBONE=backbone)
    )
    return SimpleNamespace(
        cfg=cfg,
        checkpoint=checkpoint,
        debug=0,
        save_all_boxes=False,
        template_factor=config.template_factor,
        template_size=tracker.template_size,
        search_factor=config.search_factor,
        search_size=tracker.search_size,
    )
