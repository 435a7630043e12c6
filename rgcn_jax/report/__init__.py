"""Report of a run: a self-contained HTML page, and its figures as SVG and PDF for a paper."""
