"""Detection on a frozen encoder: Cascade Mask R-CNN over the last feature map (the paper's Table 3).

annotations   a data set's own annotation file -> GroundTruth, checked, with its original ids
images        what the detector sees of an image, and where its boxes went: large-scale jitter, fixed size
pyramid       tokens -> five levels without a parameter
cascade       the detector; parameter names are detectron2's
backend       the same detector from this package or from detectron2, where that imports
train         frozen encoder + detector -> a trained head; stops and resumes
detect        a trained head over a split -> results in COCO's own format
evaluate      results + ground truth -> AP, by category, with an error over images
probe         the probes: coco-det, lvis-det, coco-format-det
"""
