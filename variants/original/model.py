"""Linux 5.10 as released: the base that both patches change."""

from variants.variant import Variant

VARIANT = Variant("original", "Linux 5.10, unpatched")
