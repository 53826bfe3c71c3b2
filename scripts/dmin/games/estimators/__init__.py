"""One file per estimator of contributions, with its entry ``ESTIMATOR``."""
