"""How sure a measured share is."""

import math

Z = 1.96  # of a 95 % interval


def wilson(hits: int, rows: int, z: float = Z) -> tuple[float, float]:
    """Return Wilson's interval of a share."""
    share, spread = hits / rows, z * z / rows
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / rows + spread / (4 * rows))
    return max(0.0, centre - half), min(1.0, centre + half)
