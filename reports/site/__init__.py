"""The static site: records as a report that opens from disk, without a server, a network or (for reading) JavaScript."""

from reports.site.build import build_site

__all__ = ["build_site"]
