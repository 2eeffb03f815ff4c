"""Detection on a frozen encoder: Cascade Mask R-CNN over the last feature map (the paper's Table 3).

Its files:

    annotations   a data set's own annotation file -> GroundTruth, checked, with its original ids
    images        what the encoder sees of an image, and where its boxes went: large-scale jitter, whole images
    loader        training views in an order that a seed fixes; whole images
    pyramid       tokens -> five levels without a parameter
    cascade       the detector (rpn, stages, masks, boxes, federated); parameter names are detectron2's
    lessons       what each part of a step in parts learns from
    backend       the same detector from this package or from detectron2, where that imports
    train         frozen encoder + detector -> a trained head; stops and resumes
    detect        a trained head over images -> results in COCO's own format
    results       result files, read and written
    evaluate      results + ground truth -> AP, by category (columns, overlaps, matches, curves), with an error over images
                  (resample) and what is lost to which kind of error (breakdown)
    outcome       what the record keeps: metrics, curves, a contact sheet (pictures, tiles), assumptions
    recipe        what a number means: the detector and its training
    probe, suite  the probes: coco-det, lvis-det, coco-format-det; rf100-det, rf100vl-det
    scorer        ricebench evaluate detection
"""
