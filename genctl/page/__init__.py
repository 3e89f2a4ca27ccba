"""One HTML file that shows a run, or several beside each other: a formatter of records; it computes nothing."""
