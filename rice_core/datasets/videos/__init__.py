"""Readers of single-object tracking: folders of videos with one object's box a frame. `Dataset.provides` is "videos".

    got10k         train/, val/, test/ with list.txt, VIDEO/%08d.jpg and groundtruth.txt (also one of the three alone)
    lasot          CLASS/CLASS-k/img/ beside groundtruth.txt, full_occlusion.txt and out_of_view.txt; boxes from 1
    trackingnet    TRAIN_0 .. TRAIN_11 and TEST, each with frames/VIDEO/0.jpg and anno/VIDEO.txt
    tnl2k          VIDEO/imgs/ beside groundtruth.txt and language.txt
    videos         anybody's own: frames beside groundtruth.txt, groundtruth_rect.txt or gt.txt, or anno/VIDEO.txt beside frames/VIDEO

To open one, folders are named and annotation files are looked up, nothing is read: data sets have 30,000 videos and 14 million
frames. What a video holds is listed when it is asked for (`source`); small sets are looked through at once, so that what cannot be
used is said before anything runs (`opening`).
"""
