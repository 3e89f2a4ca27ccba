"""Types that every layer shares."""

Shape = tuple[int, int, int]  # C, H, W
