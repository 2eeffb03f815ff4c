"""The paper's tables with our numbers beside them. What fills a column is data: `reports/reference/beside.yaml`."""

from reports.beside.mapping import Mapping, mapping_of, mappings
from reports.beside.rows import PaperNumber, paper_numbers
from reports.beside.table import Beside, read_beside, table_of

__all__ = [
    "Beside",
    "Mapping",
    "PaperNumber",
    "mapping_of",
    "mappings",
    "paper_numbers",
    "read_beside",
    "table_of",
]
