"""Geometry motion: expression and pose of the face model become a dense backward flow over the portrait.

One mesh carries everything (`mesh`): the 478 detected landmarks, and rings around the face oval whose motion fades
to nothing, so that jaw, neck and hairline bend instead of tear. Lips and lids are then made to meet exactly
(`contacts`), and lids slide over eyeballs of their own (`eyes`). The relief's shading under a mostly top-front light
gives the ratio image (`shading`), and teeth, gums and tongue are drawn inside the driven inner-lip contour (`mouth`).
`motion` puts them together.
"""

from .maps import Geometry, lit, relight
from .motion import FaceMotion, still

__all__ = ["FaceMotion", "Geometry", "lit", "relight", "still"]
