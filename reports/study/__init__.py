"""Studies: several ways of training an encoder, several trainings of each, read from the facts in the records alone."""

from reports.study.find import Control, Measure, Study, studies
from reports.study.tables import metric_table, paper_table, replicates_table, study_table

__all__ = [
    "Control",
    "Measure",
    "Study",
    "metric_table",
    "paper_table",
    "replicates_table",
    "studies",
    "study_table",
]
