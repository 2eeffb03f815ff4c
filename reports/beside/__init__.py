"""The paper's tables with our numbers beside them. What fills a column is data: `reports/reference/beside.yaml`."""

from reports.beside.mapping import Mapping, mapping_of, mappings
from reports.beside.table import beside_table

__all__ = ["Mapping", "beside_table", "mapping_of", "mappings"]
