"""Folders of people who train and judge language models that see, as data sets."""
