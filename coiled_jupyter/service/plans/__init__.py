"""Makes plans of changes to a cluster's packages, and of kernels with its workers' packages; changes nothing."""
