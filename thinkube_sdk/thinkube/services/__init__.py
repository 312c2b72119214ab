"""Find a service and hand over its native client. The SDK finds and connects; it wraps nothing."""
