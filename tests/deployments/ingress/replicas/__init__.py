"""Several ingress replicas over the same stores."""
