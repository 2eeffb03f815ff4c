"""Writes detectron2_numbers.json: what detectron2 itself gives for the cases of test_parity.py.

Heads are built from detectron2's own configuration, so that its defaults are recorded and not this package's idea of them.
Run where detectron2 imports: PYTHONPATH=/path/to/detectron2 python tests/detection/record_detectron2.py
"""

import json

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.layers import ShapeSpec
from detectron2.modeling.proposal_generator import build_proposal_generator
from detectron2.modeling.roi_heads import build_roi_heads
from test_parity import CASES, NUMBERS, Case, measure

from probes.detection.backend import COMMIT
from probes.detection.detectron2_modules import Detectron2

_LEVELS = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}


def main() -> None:
    torch.set_num_threads(1)
    cases = {}
    for name, case in CASES.items():
        detector = Detectron2(case.head, **case.arguments)
        shapes = {
            level: ShapeSpec(channels=detector.pyramid.channels, stride=stride) for level, stride in _LEVELS.items()
        }
        cfg = configuration(name, case)
        detector.proposal_generator = build_proposal_generator(cfg, shapes)
        detector.roi_heads = build_roi_heads(cfg, shapes)
        cases[name] = rounded(measure(detector, case))
    recorded = {"detectron2": COMMIT, "torch": torch.__version__, "cases": cases}
    NUMBERS.write_text(json.dumps(recorded, separators=(",", ":")) + "\n")


def configuration(name: str, case: Case) -> CfgNode:
    """Base-RCNN-FPN.yaml and cascade_mask_rcnn_R_50_FPN_3x.yaml of detectron2, and the case's sizes."""
    cfg = get_cfg()
    model, head = cfg.MODEL, case.head
    model.DEVICE = "cpu"
    model.MASK_ON = case.masks
    model.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    model.ANCHOR_GENERATOR.ASPECT_RATIOS = [[0.5, 1.0, 2.0]]
    model.RPN.IN_FEATURES = list(_LEVELS)
    model.RPN.PRE_NMS_TOPK_TRAIN = 2 * head.proposals
    model.RPN.PRE_NMS_TOPK_TEST = model.RPN.POST_NMS_TOPK_TRAIN = model.RPN.POST_NMS_TOPK_TEST = head.proposals
    model.RPN.CONV_DIMS = [head.rpn_width] * head.rpn_convs
    model.ROI_HEADS.NAME = "CascadeROIHeads"
    model.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    model.ROI_HEADS.NUM_CLASSES = case.classes
    model.ROI_HEADS.BATCH_SIZE_PER_IMAGE = head.regions
    model.ROI_HEADS.SCORE_THRESH_TEST = head.score_threshold
    box, mask = model.ROI_BOX_HEAD, model.ROI_MASK_HEAD
    box.NAME, box.POOLER_RESOLUTION, box.CLS_AGNOSTIC_BBOX_REG = "FastRCNNConvFCHead", 7, True
    box.FC_DIM, box.CONV_DIM, box.NUM_FC = head.fc_width, head.conv_width, 2
    mask.NAME, mask.POOLER_RESOLUTION = "MaskRCNNConvUpsampleHead", 14
    mask.CONV_DIM, mask.NUM_CONV = head.conv_width, head.mask_convs
    if head.box_head == "4conv1fc":  # configs/common/models/mask_rcnn_vitdet.py
        box.NUM_CONV, box.NUM_FC, box.NORM, mask.NORM = 4, 1, "LN", "LN"
    if head.federated:  # projects/ViTDet/configs/LVIS
        box.USE_FED_LOSS = box.USE_SIGMOID_CE = True
        cfg.DATASETS.TRAIN = (name,)
        counts = [{"id": k + 1, "image_count": count} for k, count in enumerate(case.frequencies)]
        MetadataCatalog.get(name).class_image_count = counts
    cfg.TEST.DETECTIONS_PER_IMAGE = head.detections
    return cfg


def rounded(tree):
    """To eight digits, which float32 has at most."""
    if isinstance(tree, dict):
        return {key: rounded(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [rounded(value) for value in tree]
    return float(f"{tree:.8g}") if isinstance(tree, float) else tree


if __name__ == "__main__":
    main()
