"""What Flowstead costs a Kubernetes cluster, on a real control plane with kwok's nodes."""

PER_TENANT = 20
ROWS = "tests.bench.cluster.rows"
