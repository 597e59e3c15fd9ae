"""From a patch, or two kernels, to the behaviours that changed."""
