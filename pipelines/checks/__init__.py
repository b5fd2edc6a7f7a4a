"""What `kerasseg check` consists of: the sources, the examination of pairs, sums and reports."""
